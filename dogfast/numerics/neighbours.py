"""How far the k-th nearest of many points is, in bounded memory."""

from __future__ import annotations

import torch
from torch.nn import functional as F

DISTANCES_AT_ONCE = 2**26


def kth_distances(points: torch.Tensor, others: torch.Tensor, k: int) -> torch.Tensor:
    """1 - cosine of each of ``points`` (n, P) to its k-th nearest of ``others`` (m, P), k from 1 to m: (n,).

    Exact; at most `DISTANCES_AT_ONCE` distances are held at once (or those of one point).
    """
    others = F.normalize(others, dim=1)
    chunks = F.normalize(points, dim=1).split(max(1, DISTANCES_AT_ONCE // len(others)))
    return torch.cat([(1 - chunk @ others.T).kthvalue(k, dim=1).values for chunk in chunks])


def kth_unit_distances(points: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    """|a - b| of each of ``points`` a (n, P) to its k-th nearest b of ``bank`` (m, P), k from 1 to m: (n,).

    Rows of both are fp32 of length 1 or 0. Neighbours are ranked by products, which round |a - b|² / 2 in its seventh digit;
    the distance to the one found is the norm of the difference. Beyond the inputs, memory holds `planned_bytes`.
    """
    half = _half_squares(bank)
    found = points.new_empty(len(points))
    at_once = _points_at_once(len(bank))
    for start in range(0, len(points), at_once):
        some = points[start : start + at_once]
        found[start : start + at_once] = _kth(some, bank, half, k)
    return found


def kth_unit_distances_at_once(points: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    """The same with all distances held at once, for a graph, which has no loops."""
    return _kth(points, bank, _half_squares(bank), k)


def _half_squares(bank: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(bank, dim=1).square() / 2  # |a - b|² / 2 = |a|² / 2 + (|b|² / 2 - a·b)


def _kth(points: torch.Tensor, bank: torch.Tensor, half: torch.Tensor, k: int) -> torch.Tensor:
    nearest = torch.addmm(half, points, bank.T, alpha=-1).topk(k, dim=1, largest=False).indices[:, -1]
    return (points - bank[nearest]).norm(dim=1)


def planned_bytes(points: int, bank: int, width: int, k: int) -> int:
    """The most that `kth_unit_distances` holds beyond its inputs: products, candidates, neighbours found, norms and result.

    On a CPU every thread sorts a row of its own, 16 bytes an entry.
    """
    rows = min(points, _points_at_once(bank))
    products, candidates, neighbours = 4 * rows * bank, 12 * rows * k, 3 * 4 * rows * width
    return products + candidates + neighbours + 2 * 4 * bank + 4 * points + 16 * bank * torch.get_num_threads()


def _points_at_once(bank: int) -> int:
    return max(1, DISTANCES_AT_ONCE // bank)
