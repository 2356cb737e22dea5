"""The k-th nearest of many, against all distances in float64, in the memory that was planned."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch.nn import functional as F

import dogfast.numerics.neighbours as module
from dogfast.numerics.neighbours import kth_unit_distances, planned_bytes


def unit(n, width, seed):
    return F.normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("distances, others", [(2**26, 2**17), (100, 2**17), (100, 7), (1, 1)])
def test_distances_are_those_of_float64_whatever_is_held_at_once(k, distances, others, monkeypatch):
    monkeypatch.setattr(module, "DISTANCES_AT_ONCE", distances)
    monkeypatch.setattr(module, "BANK_AT_ONCE", others)
    points, bank = unit(30, 16, 0), unit(40, 16, 1)
    points[:3], points[3], bank[7] = bank[:3], 0.0, 0.0
    bank[8] = bank[9]
    expected = np.sort(cdist(points.double(), bank.double()), axis=1)[:, k - 1]
    np.testing.assert_allclose(kth_unit_distances(points, bank, k).numpy(), expected, rtol=1e-5, atol=1e-7)


def test_distances_below_what_products_can_tell_are_still_right():
    bank = unit(3, 64, 0)
    points = F.normalize(bank + 1e-5 * unit(3, 64, 1), dim=1)
    expected = np.sort(cdist(points.double(), bank.double()), axis=1)[:, 0]
    np.testing.assert_allclose(kth_unit_distances(points, bank, 1).numpy(), expected, rtol=0.02)


def test_the_plan_is_bounded_however_many_points_there_are():
    few, many = (planned_bytes(points, 1_281_167, 512, 1000) for points in (10_000, 1_000_000))
    assert many - few == 4 * 990_000 and many < 2**29


@pytest.mark.parametrize("k", [0, 4])
def test_neighbours_that_are_not_there_are_refused(k):
    with pytest.raises(ValueError, match=f"number {k} among 3"):
        kth_unit_distances(torch.eye(3), torch.eye(3), k)
