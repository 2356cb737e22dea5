"""h: it learns what latents tell of features, says how much, and takes latents of every shape."""

import pytest
import torch

from dogfast.errors import DataError
from dogfast.training.latent_features import LatentFeatures


def pairs(n=200, seed=0, noise=0.0):
    """Latents (n, 4, 4, 4), and features (n, 3) of which they tell all but the ``noise``."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(n, 4, 1, 1, generator=generator) + 0.1 * torch.randn(n, 4, 4, 4, generator=generator)
    features = latents.mean((2, 3))[:, :3].relu() + noise * torch.rand(n, 3, generator=generator)
    return latents.half(), features


def fitted(latents, features, seed=0):
    torch.manual_seed(1)
    h = LatentFeatures(tuple(latents.shape[1:]), features.shape[1])
    h.fit(latents, features, seed)
    return h


@pytest.mark.parametrize("shape", [(4, 64, 64), (4, 32, 32), (4, 4, 4), (8, 8, 8), (16, 5, 9), (1, 1, 1)], ids=str)
def test_latents_of_every_shape_become_features(shape):
    assert LatentFeatures(shape, 7)(torch.randn(3, *shape).half()).shape == (3, 7)


def test_it_learns_what_there_is_to_learn_and_says_so():
    h = fitted(*pairs())
    latents, features = pairs(seed=1)
    guessed = h(latents).detach()
    explained = 1 - (features - guessed).square().sum() / (features - features.mean(0)).square().sum()
    assert float(explained) > 0.6 and float(h.r2) == pytest.approx(float(explained), abs=0.3)
    assert guessed.min() >= 0, "features behind a ReLU are not negative"


def test_the_figure_is_of_images_it_was_not_fitted_on():
    """Features that have nothing to do with the latents can be learned by heart, but not explained."""
    latents, features = pairs()
    h = fitted(latents, features[torch.randperm(200, generator=torch.Generator().manual_seed(2))])
    assert float(h.r2) < 0.1


def test_features_that_may_be_negative_stay_so():
    latents, features = pairs()
    assert fitted(latents, features - 5)(latents).max() < 0


def test_the_seed_decides_the_fit():
    one, two, other = (fitted(*pairs(40), seed) for seed in (0, 0, 1))
    same = [torch.equal(one.state_dict()[name], tensor) for name, tensor in two.state_dict().items()]
    assert all(same) and not torch.equal(one.head.weight, other.head.weight)


def test_too_few_images_are_named():
    with pytest.raises(DataError, match="19 ID images are too few"):
        fitted(*pairs(19))
