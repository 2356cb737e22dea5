"""Is one classifier's FPR95 lower than another's, or is it the draw of the test images? A paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dogfast.numerics.metrics import RECALL, Scores, checked_scores, fpr95


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


def fpr95_draws(id_scores: Scores, ood_scores: Scores, id_rows: np.ndarray, ood_rows: np.ndarray) -> np.ndarray:
    """FPR95 on resampled sets: rows (draws, n_id) of ``id_scores`` (n_id,) and (draws, n_ood) of ``ood_scores``; (draws,)."""
    known, unknown = checked_scores(id_scores, "ID"), checked_scores(ood_scores, "OOD")
    ordered = np.sort(known[id_rows], axis=1)[:, ::-1]
    shares = np.arange(1, len(known) + 1) / len(known)
    thresholds = ordered[:, np.searchsorted(shares, RECALL)]
    return (unknown[ood_rows] >= thresholds[:, None]).mean(1)


def paired_difference(pairs: list[tuple[Scores, Scores, Scores, Scores]], draws: int = 1000, seed: int = 0) -> Difference:
    """Mean over ``pairs`` of FPR95(B) - FPR95(A), each pair being (A on ID, A on OOD, B on ID, B on OOD).

    A and B were scored on the same images in the same order; ID and OOD images are resampled apart, and alike for A and B.
    Every pair with as many ID images meets the same draws of them, so the OOD sets of one ID set share its threshold's noise.
    The interval is over test images alone: how much another training seed would change is not in it.
    """
    drawn, values = np.zeros(draws), []
    for id_a, ood_a, id_b, ood_b in pairs:
        id_rows = np.random.default_rng([seed, len(id_a)]).integers(len(id_a), size=(draws, len(id_a)))
        ood_rows = np.random.default_rng([seed, 1, len(ood_a)]).integers(len(ood_a), size=(draws, len(ood_a)))
        drawn += fpr95_draws(id_b, ood_b, id_rows, ood_rows) - fpr95_draws(id_a, ood_a, id_rows, ood_rows)
        values.append(fpr95(id_b, ood_b) - fpr95(id_a, ood_a))
    low, high = np.quantile(drawn / len(pairs), [0.025, 0.975])
    return Difference(float(np.mean(values)), float(low), float(high))
