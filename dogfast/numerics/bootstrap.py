"""What is due to the draw of the test images: intervals of one classifier's measures, and whether another one's differ.

ID and OOD images are resampled apart. A resample is how often each image was drawn, and scores are sorted once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dogfast.numerics.metrics import Scores, accepted_at_recall, checked_scores, fpr95

DRAWS = 1000
CHUNK = 50
"""Draws held at once."""
BOUNDS = (0.025, 0.975)

Measure = Callable[["Resamples", "Resamples"], np.ndarray]
"""Resamples of ID and of OOD images to a measure of each, (draws,)."""


@dataclass(frozen=True)
class Difference:
    """FPR95 of B less A's in [-1, 1], with the 95 % interval over test images; ``verdict`` is B's."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``better`` where the whole interval lies below 0, ``worse`` above, else ``undecided``."""
        return "better" if self.high < 0 else "worse" if self.low > 0 else "undecided"


# --- one classifier ---------------------------------------------------------------------------------------------
def intervals(pairs: list[tuple[Scores, Scores]], draws: int = DRAWS, seed: int = 0) -> list[dict[str, list[float]]]:
    """Of each pair of ID and OOD scores the 95 % percentile intervals over test images: ``fpr95`` and ``auroc``, [low, high].

    Raises :class:`DataError` on an empty set and on NaN.
    """
    measures = {"fpr95": fpr95_of, "auroc": auroc_of}
    drawn = _drawn([(pair, measure_of(*pair)) for pair in pairs for measure_of in measures.values()], draws, seed)
    bounds = np.quantile(drawn, BOUNDS, axis=1).T.reshape(len(pairs), len(measures), 2)
    return [dict(zip(measures, of_pair.tolist())) for of_pair in bounds]


# --- two classifiers --------------------------------------------------------------------------------------------
Pair = tuple[Scores, Scores, Scores, Scores]
"""A on ID, A on OOD, B on ID, B on OOD: A and B scored the same images in the same order."""


def paired_differences(groups: list[list[Pair]], draws: int = DRAWS, seed: int = 0) -> list[Difference]:
    """Of each group of pairs the mean of FPR95(B) - FPR95(A). A pair that is in several groups is resampled once.

    ID and OOD images are resampled apart, and alike for A and B. Every pair with as many ID images meets the same draws of
    them, so the OOD sets of one ID set share its threshold's noise. The interval is over test images alone: how much another
    training seed would change is not in it.
    """
    pairs = list({id(pair): pair for group in groups for pair in group}.values())
    for id_a, ood_a, id_b, ood_b in pairs:
        assert (len(id_a), len(ood_a)) == (len(id_b), len(ood_b)), "A and B did not score the same images"
    sides = [(side, fpr95_of(*side)) for id_a, ood_a, id_b, ood_b in pairs for side in ((id_a, ood_a), (id_b, ood_b))]
    drawn = _drawn(sides, draws, seed)
    changes = {id(pair): change for pair, change in zip(pairs, drawn[1::2] - drawn[::2])}
    values = {id(pair): fpr95(*pair[2:]) - fpr95(*pair[:2]) for pair in pairs}
    found = []
    for group in groups:
        low, high = np.quantile(np.mean([changes[id(pair)] for pair in group], axis=0), BOUNDS)
        found.append(Difference(float(np.mean([values[id(pair)] for pair in group])), float(low), float(high)))
    return found


def paired_difference(pairs: list[Pair], draws: int = DRAWS, seed: int = 0) -> Difference:
    """`paired_differences` of one group."""
    return paired_differences([pairs], draws, seed)[0]


# --- measures of resamples --------------------------------------------------------------------------------------
def fpr95_of(id_scores: Scores, ood_scores: Scores) -> Measure:
    """`fpr95` on resamples of the images of ``id_scores`` (n_id,) and ``ood_scores`` (n_ood,)."""
    known, unknown = checked_scores(id_scores, "ID"), checked_scores(ood_scores, "OOD")
    order = np.argsort(known)
    refused = len(known) - accepted_at_recall(len(known))

    def measure(id_images: Resamples, ood_images: Resamples) -> np.ndarray:
        thresholds = known[order[_after(id_images.counts, order, refused)]]
        always = unknown >= thresholds.max()
        sometimes = np.flatnonzero(~always & (unknown >= thresholds.min()))
        # No matrix product: on busy cores the threads of a BLAS take a hundred times as long.
        accepted = np.einsum("n,nd->d", always.astype(np.float32), ood_images.counts)
        accepted += (ood_images.counts[sometimes] * (unknown[sometimes, None] >= thresholds)).sum(axis=0)
        return accepted / np.float64(len(unknown))

    return measure


def auroc_of(id_scores: Scores, ood_scores: Scores) -> Measure:
    """`auroc` on resamples of ``id_scores`` (n_id,) and ``ood_scores`` (n_ood,), each numbered from its smallest, to fp32.

    All numberings are equally likely to be drawn alike, and with this one the images below a score are counted once for all.
    """
    known, unknown = np.sort(checked_scores(id_scores, "ID")), np.sort(checked_scores(ood_scores, "OOD"))
    below, up_to = (np.searchsorted(unknown, known, side) for side in ("left", "right"))
    tied = np.flatnonzero(below < up_to)

    def measure(id_images: Resamples, ood_images: Resamples) -> np.ndarray:
        beaten = ood_images.met.take(below, axis=0)
        beaten[tied] = (beaten[tied] + ood_images.met.take(up_to[tied], axis=0)) / 2
        beaten /= len(unknown)
        return np.einsum("nd,nd->d", id_images.counts, beaten) / np.float64(len(known))

    return measure


def _after(counts: np.ndarray, order: np.ndarray, images: int) -> np.ndarray:
    """For each draw the place in ``order`` (n,) of the image that follows ``images`` < n drawn ones.

    They lie near its start, so only as much of it is looked at as the draws need.
    """
    width = 2 * images + 16
    while True:
        met = counts[order[:width]].cumsum(axis=0)
        if met[-1].min() > images:
            return (met <= images).sum(axis=0)
        width *= 2


# --- resamples --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Resamples:
    """Draws of n of n images with replacement, the same number of draws for all sets."""

    counts: np.ndarray
    """(n, draws), how often each image is drawn: whole numbers, fp32"""

    @cached_property
    def met(self) -> np.ndarray:
        """(n + 1, draws): drawn among the first 0, 1, … n images."""
        met = np.zeros((len(self.counts) + 1, self.counts.shape[1]), np.float32)
        np.cumsum(self.counts, axis=0, out=met[1:])
        return met


def _drawn(asked: list[tuple[tuple[Scores, Scores], Measure]], draws: int, seed: int) -> np.ndarray:
    """Every measure on every resample of its ID and OOD scores, (len(asked), draws). Sets of one size meet the same draws."""
    found = np.empty((len(asked), draws))
    sizes = [(len(known), len(unknown)) for (known, unknown), _ in asked]
    of_id = {size: np.random.default_rng([seed, size]) for size, _ in sizes}
    of_ood = {size: np.random.default_rng([seed, 1, size]) for _, size in sizes}
    for start in range(0, draws, CHUNK):
        some = min(CHUNK, draws - start)
        id_images = {size: _resamples(rng, some, size) for size, rng in of_id.items()}
        ood_images = {size: _resamples(rng, some, size) for size, rng in of_ood.items()}
        for row, ((n_id, n_ood), (_, measure)) in enumerate(zip(sizes, asked)):
            found[row, start : start + some] = measure(id_images[n_id], ood_images[n_ood])
    return found


def _resamples(rng: np.random.Generator, draws: int, size: int) -> Resamples:
    places = rng.integers(size, size=(draws, size)) * draws + np.arange(draws)[:, None]
    counts = np.bincount(places.ravel(), minlength=size * draws)
    return Resamples(counts.reshape(size, draws).astype(np.float32))
