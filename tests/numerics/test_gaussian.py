"""One covariance for all classes, against loops; the least likely of many draws, against drawing them."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

import dogfast.numerics.gaussian as module
from dogfast.numerics.gaussian import TiedGaussian, fit_tied, least_likely


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_features(n=40, d=5, classes=3):
    features = torch.randn(n, d, generator=seeded()) @ torch.randn(d, d, generator=seeded(1))
    labels = torch.arange(n) % classes
    return features + 3 * labels[:, None], labels


def test_means_and_covariance_against_loops(monkeypatch):
    features, labels = some_features()
    means, covariance = np.zeros((3, 5)), 0.01 * np.eye(5)
    rows = features.double().numpy()
    for c in range(3):
        means[c] = sum(row for row, y in zip(rows, labels) if y == c) / int((labels == c).sum())
    for row, y in zip(rows, labels):
        covariance += np.outer(row - means[int(y)], row - means[int(y)]) / 40
    for at_once in (40, 7):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", at_once)
        found = fit_tied(features, labels, 3, 0.01)
        np.testing.assert_allclose(found.means.numpy(), means, rtol=1e-10)
        np.testing.assert_allclose((found.factor @ found.factor.T).numpy(), covariance, rtol=1e-10)
        assert torch.equal(found.factor, found.factor.tril())


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_fewer_features_than_dimensions_are_enough_with_shrinkage(scale):
    features = scale * torch.randn(6, 64, generator=seeded())
    found = fit_tied(features, torch.arange(6) % 2, 2, 1e-4)
    assert found.factor.isfinite().all() and (found.factor.diagonal() >= 0.9e-2).all()


def test_half_precision_features_are_summed_in_double():
    features, labels = some_features()
    torch.testing.assert_close(
        fit_tied(features.bfloat16(), labels, 3, 0.0).factor, fit_tied(features.bfloat16().double(), labels, 3, 0.0).factor
    )


def test_what_is_not_positive_definite_or_not_finite_says_so():
    ones = torch.ones(4, 3)
    assert fit_tied(ones, torch.zeros(4, dtype=torch.long), 1, 0.0).factor.isnan().any()
    ones[0, 0] = torch.nan
    assert fit_tied(ones, torch.zeros(4, dtype=torch.long), 1, 1.0).factor.isnan().any()


def test_a_class_without_features_has_its_mean_at_zero():
    found = fit_tied(torch.ones(4, 3), torch.zeros(4, dtype=torch.long), 2, 1.0)
    assert found.means.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_the_least_likely_of_many_draws_is_distributed_as_if_they_were_drawn():
    """Mahalanobis distance and a coordinate of 1500 least likely of 50 draws each, against literally the worst of 50."""
    generator, draws, times = seeded(3), 50, 1500
    means = torch.randn(2, 4, dtype=torch.float64, generator=generator)
    gaussian = TiedGaussian(means, torch.randn(4, 4, dtype=torch.float64, generator=generator).tril() + 2 * torch.eye(4))
    density = torch.distributions.MultivariateNormal(gaussian.means[1], scale_tril=gaussian.factor)
    tries = gaussian.means[1] + torch.randn(times, draws, 4, dtype=torch.float64, generator=generator) @ gaussian.factor.T
    drawn = tries[torch.arange(times), density.log_prob(tries).argmin(1)]
    quick = torch.stack([least_likely(gaussian, draws, generator)[1] for _ in range(times)])
    assert ks_2samp(density.log_prob(drawn), density.log_prob(quick)).pvalue > 1e-3
    for axis in range(4):
        assert ks_2samp(drawn[:, axis], quick[:, axis]).pvalue > 1e-3
    assert ks_2samp(density.log_prob(tries[:, 0]), density.log_prob(quick)).pvalue < 1e-9


def test_one_draw_is_a_plain_draw():
    gaussian, generator = TiedGaussian(torch.zeros(800, 3).double(), 2 * torch.eye(3).double()), seeded()
    drawn = least_likely(gaussian, 1, generator)
    assert drawn.shape == (800, 3) and ks_2samp(drawn.flatten() / 2, torch.randn(2400, generator=generator)).pvalue > 1e-3


def test_the_generator_decides():
    features, labels = some_features()
    gaussian = fit_tied(features, labels, 3, 0.01)
    one, two, other = (least_likely(gaussian, 10, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)
