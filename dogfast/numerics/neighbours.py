"""How far the k-th nearest of many points is, in bounded memory."""

from __future__ import annotations

import torch
from torch.nn import functional as F

DISTANCES_AT_ONCE = 2**26
BANK_AT_ONCE = 2**17
LIBRARY_BYTES = 2**26
"""What BLAS and the allocator keep for themselves, at most: 56 MiB were seen."""


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
    the distance to the one found is the norm of the difference. Beyond the inputs, memory holds `planned_bytes`. Raises
    ValueError for another k.
    """
    if not 1 <= k <= len(bank):
        raise ValueError(f"there is no neighbour number {k} among {len(bank)}")
    half = _half_squares(bank)
    found = points.new_empty(len(points))
    rows, others = _at_once(len(points), len(bank))
    space = points.new_empty(rows * others)
    for start in range(0, len(points), max(1, rows)):
        some = points[start : start + rows]
        found[start : start + rows] = (some - bank[_kth_nearest(some, bank, half, k, space, others)]).norm(dim=1)
    return found


def _kth_nearest(
    points: torch.Tensor, bank: torch.Tensor, half: torch.Tensor, k: int, space: torch.Tensor, others: int
) -> torch.Tensor:
    """Where the k-th nearest lies in ``bank``, of which ``others`` are met at once, their products lying in ``space``: (n,)."""
    nearest, where = points.new_empty(len(points), 0), points.new_empty(len(points), 0, dtype=torch.long)
    for start in range(0, len(bank), others):
        some = bank[start : start + others]
        products = space[: len(points) * len(some)].view(len(points), len(some))
        torch.addmm(half[start : start + others], points, some.T, alpha=-1, out=products)
        best = products.topk(min(k, len(some)), dim=1, largest=False)
        nearest, where = torch.cat([nearest, best.values], 1), torch.cat([where, best.indices + start], 1)
        nearest, kept = nearest.topk(min(k, nearest.shape[1]), dim=1, largest=False)
        where = where.gather(1, kept)
    return where[:, -1]


def kth_unit_distances_at_once(points: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    """`kth_unit_distances` with all distances held at once, for a graph, which has no loops."""
    nearest = torch.addmm(_half_squares(bank), points, bank.T, alpha=-1).topk(k, dim=1, largest=False).indices[:, -1]
    return (points - bank[nearest]).norm(dim=1)


def _half_squares(bank: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(bank, dim=1).square() / 2  # |a - b|² / 2 = |a|² / 2 + (|b|² / 2 - a·b)


def planned_bytes(points: int, bank: int, width: int, k: int) -> int:
    """The most that `kth_unit_distances` holds beyond its inputs: products, candidates, neighbours found, norms and result.

    On a CPU every thread sorts a row of its own, 16 bytes an entry; and libraries keep `LIBRARY_BYTES`.
    """
    rows, others = _at_once(points, bank)
    candidates = rows * min(k, bank) * (6 * 8 + 5 * 4)  # of a tile, of those before, both together, and the best of these
    products, neighbours, norms = 4 * rows * others, 3 * 4 * rows * width, 3 * 4 * bank
    sorting = 16 * others * torch.get_num_threads()
    return products + candidates + neighbours + norms + 4 * points + sorting + LIBRARY_BYTES


def _at_once(points: int, bank: int) -> tuple[int, int]:
    """How many of ``points`` meet how many of ``bank`` together: wide tiles multiply fastest."""
    others = min(bank, BANK_AT_ONCE)
    return min(points, max(1, DISTANCES_AT_ONCE // others)), others
