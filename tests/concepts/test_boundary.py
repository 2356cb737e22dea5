"""Boundary sampling: points where a class thins out, and the regression that makes words of them."""

from importlib import import_module

import torch
from torch.nn import functional as F

from dogfast.concepts.strategies.boundary import boundary_points, word_rows

module = import_module("dogfast.concepts.strategies.boundary")  # the package gives the function under this name


def cloud(n=200, width=8, seed=0):
    """Most of a class at one place, a tenth of it somewhat away."""
    generator = torch.Generator().manual_seed(seed)
    middle = F.normalize(torch.randn(width, generator=generator), dim=0)
    spread = torch.full((n, 1), 0.05)
    spread[: n // 10] = 0.3
    return F.normalize(middle + spread * torch.randn(n, width, generator=generator), dim=1), middle


def test_points_lie_at_the_edge_and_not_far_beyond(monkeypatch):
    monkeypatch.setattr(module, "SEEDS", 10)
    pictures, middle = cloud()
    points = boundary_points(pictures, seed=1)
    assert points.shape == (20, 8)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(20))
    typical, edge = (1 - pictures @ middle).median(), 1 - points @ middle
    assert (edge > 3 * typical).all(), "outside the crowd"
    assert (1 - points @ pictures.T).min(1).values.max() < 0.2, "near some image of the class still"


def test_points_are_a_function_of_their_seed():
    pictures, _ = cloud(40)
    assert torch.equal(boundary_points(pictures, 3), boundary_points(pictures, 3))
    assert not torch.equal(boundary_points(pictures, 3), boundary_points(pictures, 4))


def test_small_classes_have_an_edge_too():
    assert boundary_points(F.normalize(torch.randn(1, 8), dim=1), 0).isfinite().all()
    assert len(boundary_points(F.normalize(torch.randn(3, 8), dim=1), 0)) == 6


def test_the_regression_finds_a_linear_map_again():
    generator = torch.Generator().manual_seed(0)
    texts = F.normalize(torch.randn(500, 12, generator=generator), dim=1)
    true = torch.randn(12, 6, generator=generator)
    rows = texts @ true + 3.0
    shift = torch.randn(12, generator=generator)
    points = texts[:20] - texts.mean(0) + shift
    found = word_rows(points, shift, texts, rows)
    assert F.cosine_similarity(found, rows[:20]).min() > 0.999, "whatever lies between images and texts"
    torch.testing.assert_close(found.norm(dim=1), rows.norm(dim=1).mean().expand(20), rtol=1e-5, atol=1e-5)
