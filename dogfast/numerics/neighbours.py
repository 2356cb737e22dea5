"""How far the k-th nearest of many points is, by cosine, in bounded memory."""

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
