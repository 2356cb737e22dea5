"""CLUB: its bound against a scalar loop, and the pitfall of minimising it over q too."""

import math

import pytest
import torch

from dogfast.training.club import Club

CORRELATION = 0.8


def gaussians(n, seed=0):
    """Two correlated standard normal numbers (n, 1) each; their information is -log(1 - ρ²) / 2."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, n, 1, generator=generator)
    return x, CORRELATION * x + math.sqrt(1 - CORRELATION**2) * noise


class Exact(Club):
    """q(y|x) = p(y|x) of :func:`gaussians`."""

    def _gaussian(self, x):
        return CORRELATION * x, torch.full_like(x, 1 - CORRELATION**2)


INFORMATION = -math.log(1 - CORRELATION**2) / 2


def density(y, centre, variance):
    """Logarithm of the diagonal normal density."""
    return sum(-((a - m) ** 2) / (2 * v) - math.log(2 * math.pi * v) / 2 for a, m, v in zip(y, centre, variance))


def test_bound_and_likelihood_against_scalar_loops():
    club = Club(3).double()
    club.requires_grad_(False)
    x, y = torch.randn(2, 6, 3, dtype=torch.float64)
    centre, variance = (part.tolist() for part in club._gaussian(x))
    own = [density(y[i].tolist(), centre[i], variance[i]) for i in range(6)]
    anyone = [sum(density(y[j].tolist(), centre[i], variance[i]) for j in range(6)) / 6 for i in range(6)]
    assert float(club.bound(x, y)) == pytest.approx(sum(a - b for a, b in zip(own, anyone)) / 6, rel=1e-10)
    assert float(club.likelihood(x, y)) == pytest.approx(sum(own) / 6 + 1.5 * math.log(2 * math.pi), rel=1e-10)


def test_with_the_true_conditional_it_is_a_bound():
    bound = float(Exact(1).bound(*gaussians(20_000)))
    assert bound == pytest.approx(CORRELATION**2 / (1 - CORRELATION**2), rel=0.1) and bound > INFORMATION


def test_q_that_is_fitted_by_likelihood_bounds_and_q_that_minimises_does_not():
    """The release's joint minimisation over q: the number falls below the information it is to bound."""
    honest, joint = Club(1), Club(1)
    honest.optimizer.param_groups[0]["lr"] = 1e-2
    minimiser = torch.optim.Adam(joint.parameters(), 1e-2)
    for step in range(60):
        x, y = gaussians(128, step + 1)
        honest.learn(x, y)
        minimiser.zero_grad()
        joint.bound(x, y).backward()
        minimiser.step()
    x, y = gaussians(2_000)
    assert joint.bound(x, y).item() < 0 < INFORMATION < honest.bound(x, y).item()


def test_of_features_that_are_paired_by_chance_it_finds_nothing():
    """ID images and outliers are independent by construction, so a fitted q has nothing to say."""
    club = Club(1)
    club.optimizer.param_groups[0]["lr"] = 1e-2
    for step in range(60):
        club.learn(gaussians(128, step + 1)[0], gaussians(128, 1000 + step)[1])
    assert club.bound(gaussians(2_000, 0)[0], gaussians(2_000, 5000)[1]).item() == pytest.approx(0, abs=0.05)


def test_a_likelihood_that_is_not_finite_leaves_q_alone():
    club = Club(2)
    before = {name: p.clone() for name, p in club.state_dict().items()}
    club.learn(torch.full((3, 2), math.inf), torch.zeros(3, 2))
    assert all(torch.equal(before[name], p) for name, p in club.state_dict().items())
    club.learn(torch.ones(3, 2), torch.zeros(3, 2))
    assert not torch.equal(before["centre.0.weight"], club.centre[0].weight)
