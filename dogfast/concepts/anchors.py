"""Anchors: candidates near the ID images but not on them (DOG Eq. 6, read so that it filters).

d(c, x) = 1 - cos(T(prompt(c)), E'(x));  q_y(c) = the ceil(eta n_y)-th smallest d over the images of class y;
owner(c) = argmin of q_y(c) over the classes y with c in C_y;  bound = q_owner of the owner's own name plus a margin;
lambda = a value, or a quantile of q within the owner. Kept are, by side: near, from the bound to lambda; band, between two
quantiles of what lies above the bound; far, above lambda.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from dogfast.concepts.candidates import Candidates
from dogfast.config.concepts import ConceptsConfig
from dogfast.numerics.neighbours import kth_distances

FEWEST_ANCHORS = 5
FARTHEST = 2.0
"""The largest cosine distance."""


@dataclass(frozen=True)
class Verdict:
    """What Eq. 6 says of one word for one class: q, the class's bound, lambda, and why it is out (empty: it is in).

    ``topped_up`` marks an anchor that the filter alone would not have given its class.
    """

    word: int
    owner: int
    text_cosine: float
    distance: float
    bound: float
    limit: float
    reason: str
    topped_up: bool = False


def near_distances(words: torch.Tensor, images: torch.Tensor, eta: float) -> torch.Tensor:
    """q of every word (W, P) to the images (n, P) of one class: (W,); the smallest distance where eta n <= 1."""
    return kth_distances(words, images, max(1, math.ceil(eta * len(images) - 1e-9)))


def choose_anchors(
    candidates: Candidates, distances: torch.Tensor, own: torch.Tensor, settings: ConceptsConfig
) -> list[Verdict]:
    """A verdict on every candidate for its owner, by owner and distance.

    ``distances`` q_y(c) of each of ``candidates`` (C, K), ``own`` q_y of class y's own name (C,). A class with fewer than
    `FEWEST_ANCHORS` anchors takes the nearest (``far``: the farthest) of its candidates above the bound as well, whoever owns
    them, but none that is under its owner's bound.
    """
    distances = distances.double()
    owned, bounds = _owned(candidates.words, distances), own.double() + settings.margin
    refused = set(candidates.words[owned & (distances < bounds[:, None])].tolist())
    verdicts: list[Verdict] = []
    for owner in range(len(distances)):
        columns = (candidates.words, candidates.cosines, distances, owned)
        rows = [_Row(*row) for row in zip(*(column[owner].tolist() for column in columns)) if math.isfinite(row[2])]
        verdicts += _of_owner(owner, rows, float(bounds[owner]), refused, settings)
    return verdicts


@dataclass(frozen=True)
class _Row:
    word: int
    cosine: float
    distance: float
    owned: bool


def _owned(words: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """Where a class is the nearest of those that have the word as candidate, the first of them where several are: bool (C, K)."""
    order = distances.flatten().argsort(stable=True)  # rows are classes: equal distances stay in the order of classes
    sorted_words = words.flatten()[order]
    by_word = sorted_words.argsort(stable=True)
    first = torch.ones_like(by_word, dtype=torch.bool)
    first[1:] = sorted_words[by_word][1:] != sorted_words[by_word][:-1]
    owned = torch.zeros(words.numel(), dtype=torch.bool)
    owned[order[by_word[first]]] = True
    return owned.view(words.shape)


def _of_owner(owner: int, rows: list[_Row], bound: float, refused: set[int], settings: ConceptsConfig) -> list[Verdict]:
    mine = torch.tensor([row.distance for row in rows if row.owned], dtype=torch.float64)
    limit = _limit(mine, bound, settings)
    low, high = _interval(mine, bound, limit, settings)

    def verdict(row: _Row, reason: str, topped_up: bool = False) -> Verdict:
        return Verdict(row.word, owner, row.cosine, row.distance, bound, limit, reason, topped_up)

    found = {row.word: verdict(row, _reason(row.distance, bound, low, high)) for row in rows if row.owned}
    missing = max(0, FEWEST_ANCHORS - sum(not each.reason for each in found.values()))
    kept = {word for word, each in found.items() if not each.reason}
    spare = [row for row in rows if row.distance >= bound and row.word not in kept | refused]
    spare.sort(key=lambda row: row.distance, reverse=settings.anchor_side == "far")
    found |= {row.word: verdict(row, "", topped_up=True) for row in spare[:missing]}
    return sorted(found.values(), key=lambda each: each.distance)


def _limit(mine: torch.Tensor, bound: float, settings: ConceptsConfig) -> float:
    if settings.anchor_lambda is not None:
        return settings.anchor_lambda
    return float(mine.quantile(settings.anchor_quantile)) if len(mine) else bound


def _interval(mine: torch.Tensor, bound: float, limit: float, settings: ConceptsConfig) -> tuple[float, float]:
    """The distances that are kept, ends included."""
    if settings.anchor_side == "near":
        return bound, limit
    if settings.anchor_side == "far":
        return max(bound, math.nextafter(limit, math.inf)), FARTHEST
    above = mine[mine >= bound]
    low, high = (float(above.quantile(q)) for q in settings.anchor_band) if len(above) else (bound, bound)
    return low, high


def _reason(distance: float, bound: float, low: float, high: float) -> str:
    if distance < bound:
        return "nearer than the class's own name"
    if distance < low:
        return "nearer than what is kept"
    return "farther than what is kept" if distance > high else ""
