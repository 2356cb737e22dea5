"""Anchors: candidates near the ID images but not on them (DOG Eq. 6, read so that it filters).

d(c, x) = 1 - cos(T(prompt(c)), E'(x));  q_y(c) = the ceil(eta n_y)-th smallest d over the images of class y;
owner(c) = argmin of q_y(c) over the classes y with c in C_y;  kept where bound <= q_owner(c) <= lambda, bound being
q_owner of the owner's own name plus a margin and lambda a quantile of q within the owner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

DISTANCES_AT_ONCE = 2**26
FEWEST_ANCHORS = 5


@dataclass(frozen=True)
class Verdict:
    """What Eq. 6 says of one word: its owner, q, the owner's bound and lambda, and why it is out (empty: it is in)."""

    word: int
    owner: int
    distance: float
    bound: float
    limit: float
    reason: str


def near_distances(words: torch.Tensor, images: torch.Tensor, eta: float) -> torch.Tensor:
    """q of every word (W, P) to the images (n, P) of one class: (W,); the smallest distance where eta n <= 1."""
    rank = max(1, math.ceil(eta * len(images) - 1e-9))
    images = F.normalize(images, dim=1)
    chunks = F.normalize(words, dim=1).split(max(1, DISTANCES_AT_ONCE // len(images)))
    return torch.cat([(1 - chunk @ images.T).kthvalue(rank, dim=1).values for chunk in chunks])


def choose_anchors(
    distances: torch.Tensor, candidates: torch.Tensor, own: torch.Tensor, quantile: float, margin: float
) -> list[Verdict]:
    """A verdict on every word that is a candidate of some class, by owner and distance.

    ``distances`` q_y(c) (C, W), ``candidates`` bool (C, W), ``own`` q_y of class y's own name (C,). An owner with fewer
    than `FEWEST_ANCHORS` anchors takes its nearest words above the bound instead.
    """
    owned = distances.masked_fill(~candidates, math.inf).min(dim=0)
    verdicts = []
    for owner in range(len(distances)):
        words = ((owned.indices == owner) & owned.values.isfinite()).nonzero()[:, 0]
        ordered = words[owned.values[words].argsort(stable=True)]
        verdicts += _of_owner(owner, ordered, owned.values[ordered].double(), float(own[owner]) + margin, quantile)
    return verdicts


def _of_owner(owner: int, words: torch.Tensor, distances: torch.Tensor, bound: float, quantile: float) -> list[Verdict]:
    if not len(words):
        return []
    above = distances[distances >= bound]
    limit = float(distances.quantile(quantile))
    if int((above <= limit).sum()) < FEWEST_ANCHORS and len(above):
        limit = float(above[min(FEWEST_ANCHORS, len(above)) - 1])
    return [
        Verdict(int(word), owner, float(q), bound, limit, _reason(float(q), bound, limit)) for word, q in zip(words, distances)
    ]


def _reason(distance: float, bound: float, limit: float) -> str:
    if distance < bound:
        return "nearer than the class's own name"
    return "farther than lambda" if distance > limit else ""
