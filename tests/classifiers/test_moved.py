"""The move of ODIN: its direction, its unit, and that it costs nothing where it is not asked for."""

import numpy as np
import pytest
import torch
from torch import nn

from dogfast.classifiers.evidence import collect_evidence
from dogfast.classifiers.moved import TEMPERATURE, moved_logits

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.25, 0.2, 0.1])


class Net(nn.Module):
    """Normalises inside, as every classifier of ours does; smooth, so that its slopes can be measured."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh())
        self.head = nn.Linear(4, 5)

    def of_normalised(self, x):
        return self.head(self.body(x).mean(dim=(2, 3)))

    def features(self, x):
        return self.body((x - MEAN[:, None, None]) / STD[:, None, None]).mean(dim=(2, 3))

    def forward(self, x):
        return self.head(self.features(x))


@pytest.fixture
def images():
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def confidence(logits):
    return (logits / TEMPERATURE).log_softmax(-1).amax(-1)


def test_every_value_moves_to_where_the_confidence_rises(images):
    model, epsilon, images = Net().double(), 0.01, images[:2]
    found = moved_logits(model, images.double(), (epsilon,), 2)[epsilon]
    for image, logits in zip(images.double(), found):
        slope = np.zeros(image.shape)
        for at in np.ndindex(*image.shape):
            step = torch.zeros_like(image)
            step[at] = 1e-4
            with torch.no_grad():
                slope[at] = confidence(model(torch.stack([image + step, image - step]))).diff() * -1
        moved = image + epsilon * torch.from_numpy(np.sign(slope))
        torch.testing.assert_close(logits, model(moved[None])[0].detach())


def test_it_is_the_move_of_the_authors_code_on_normalised_images(images):
    """There: the sign of the loss's gradient, each channel divided by its standard deviation, subtracted."""
    model, epsilon = Net(), 0.0014
    normalised = ((images - MEAN[:, None, None]) / STD[:, None, None]).requires_grad_()
    logits = model.of_normalised(normalised)
    nn.functional.cross_entropy(logits / 1000, logits.argmax(1)).backward()
    direction = (normalised.grad >= 0).float() * 2 - 1
    expected = model.of_normalised(normalised - epsilon * direction / STD[:, None, None])
    torch.testing.assert_close(moved_logits(model, images, (epsilon,), 2)[epsilon], expected.detach())


def test_every_magnitude_has_its_logits_and_no_move_changes_nothing(images):
    model = Net()
    found = moved_logits(model, images, (0.0, 0.01, 0.02), 2)
    assert list(found) == [0.0, 0.01, 0.02] and all(logits.shape == (5, 5) for logits in found.values())
    torch.testing.assert_close(found[0.0], model(images).detach())
    assert not any(logits.requires_grad for logits in found.values())
    assert (confidence(found[0.01]) > confidence(found[0.0])).all() and not torch.equal(found[0.01], found[0.02])


def test_evidence_holds_moved_logits_where_they_were_asked_for(images):
    model, pixels = Net().train(), (images * 255).to(torch.uint8)
    plain = collect_evidence(model, pixels, 2, "cpu", "fp32")
    moved = collect_evidence(model, pixels, 2, "cpu", "fp32", magnitudes=(0.0, 0.01))
    assert plain.moved is None and list(moved.moved) == [0.0, 0.01]
    assert torch.equal(moved.logits, plain.logits) and torch.equal(moved.features, plain.features)
    torch.testing.assert_close(moved.moved[0.0], plain.logits)
    expected = moved_logits(model, pixels.float() / 255, (0.01,), 2)[0.01]
    torch.testing.assert_close(moved.moved[0.01], expected)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


def test_bf16_moves_too(images):
    found = collect_evidence(Net(), (images * 255).to(torch.uint8), 5, "cpu", "bf16", magnitudes=(0.01,))
    assert (confidence(found.moved[0.01]) > confidence(found.logits)).all() and found.moved[0.01].dtype == torch.float32
