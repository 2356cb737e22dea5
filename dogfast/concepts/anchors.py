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
    """What Eq. 6 says of one word for one class: q, the class's bound and lambda, and why it is out (empty: it is in).

    ``topped_up`` marks an anchor that the filter alone would not have given its class.
    """

    word: int
    owner: int
    distance: float
    bound: float
    limit: float
    reason: str
    topped_up: bool = False


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

    ``distances`` q_y(c) (C, W), ``candidates`` bool (C, W), ``own`` q_y of class y's own name (C,). A class with fewer
    than `FEWEST_ANCHORS` anchors takes the nearest of its candidates above the bound as well, whoever owns them.
    """
    distances = distances.double()
    owned = distances.masked_fill(~candidates, math.inf).min(dim=0)
    verdicts = []
    for owner in range(len(distances)):
        bound = float(own[owner]) + margin
        words = ((owned.indices == owner) & owned.values.isfinite()).nonzero()[:, 0]
        found = _of_owner(owner, words, distances[owner], bound, quantile)
        verdicts += _topped_up(found, owner, candidates[owner].nonzero()[:, 0], distances[owner], bound)
    return verdicts


def _of_owner(owner: int, words: torch.Tensor, distances: torch.Tensor, bound: float, quantile: float) -> list[Verdict]:
    if not len(words):
        return []
    limit = float(distances[words].quantile(quantile))
    ordered = words[distances[words].argsort(stable=True)].tolist()
    near = {word: float(distances[word]) for word in ordered}
    return [Verdict(word, owner, near[word], bound, limit, _reason(near[word], bound, limit)) for word in ordered]


def _topped_up(
    found: list[Verdict], owner: int, candidates: torch.Tensor, distances: torch.Tensor, bound: float
) -> list[Verdict]:
    kept = {verdict.word for verdict in found if not verdict.reason}
    missing = max(0, FEWEST_ANCHORS - len(kept))
    ordered = candidates[distances[candidates].argsort(stable=True)].tolist()
    limit = found[0].limit if found else bound
    extra = [word for word in ordered if bound <= float(distances[word]) < math.inf and word not in kept][:missing]
    added = [Verdict(word, owner, float(distances[word]), bound, limit, "", topped_up=True) for word in extra]
    return sorted([v for v in found if v.word not in extra] + added, key=lambda verdict: verdict.distance)


def _reason(distance: float, bound: float, limit: float) -> str:
    if distance < bound:
        return "nearer than the class's own name"
    return "farther than lambda" if distance > limit else ""
