"""How two other lines of work measure the scores of one OOD set, beside our own measures of all images.

What they print carries the names of ours and other numbers, so a row holds them apart, under the protocol's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from dogfast.config.detection import ENERGY_OOD, FULL, OPENOOD
from dogfast.detection.table import ID, SHARES
from dogfast.numerics.metrics import RECALL, Scores, aupr_in, auroc, checked_scores, fpr95_ood, joint_ranks

DRAWS = 10
ID_TO_OOD = 5
"""ID test images to one OOD image of a draw."""

MEANT = ("fpr_nearest", "fpr95", "auroc", "aupr_in", "aupr_out")
"""Measures of a protocol that a mean over sets is made of; counts and spreads are not."""

Protocol = Callable[[Scores, Scores, int], dict[str, float | int]]
"""Scores of an ID set (n_id,) and of an OOD set (n_ood,), and a seed, to measures in [0, 1] and counts."""


# --- energy_ood, outlier-exposure, DOE, DOG -----------------------------------------------------------------------
def energy_ood(id_scores: Scores, ood_scores: Scores, seed: int) -> dict[str, float | int]:
    """Mean and standard deviation of ID-positive measures over draws of n_id // 5 OOD images, without replacement.

    A smaller OOD set is taken whole in every draw. ``n_ood`` is the images of a draw; ``fpr_nearest`` is
    `fpr_at_nearest_recall`; ``aupr_in`` depends on how many OOD images there are to an ID image.
    """
    known, unknown = checked_scores(id_scores, "ID"), checked_scores(ood_scores, "OOD")
    count = min(len(unknown), max(1, len(known) // ID_TO_OOD))
    rng = np.random.default_rng([seed, len(unknown)])
    draws = [unknown[rng.permutation(len(unknown))[:count]] for _ in range(DRAWS)]
    measures = {"fpr_nearest": fpr_at_nearest_recall, "auroc": auroc, "aupr_in": aupr_in}
    found: dict[str, float | int] = {"n_ood": count, "draws": DRAWS}
    for name, measure in measures.items():
        values = [measure(known, draw) for draw in draws]
        found |= {name: float(np.mean(values)), f"{name}_sd": float(np.std(values))}
    return found


def fpr_at_nearest_recall(id_scores: Scores, ood_scores: Scores, recall: float = RECALL) -> float:
    """Share of OOD accepted at the point of the ROC curve whose ID recall is nearest to ``recall``, above or below it.

    Every score that occurs is a threshold. Of equally near ones the lowest counts, so OOD images that lie between two ID
    images are accepted with the upper one; of those with full recall only the highest takes part.
    """
    known, unknown = np.sort(checked_scores(id_scores, "ID")), checked_scores(ood_scores, "OOD")
    thresholds = np.unique(np.concatenate([known, unknown[unknown > known[0]]]))
    recalls = (len(known) - np.searchsorted(known, thresholds)) / len(known)
    return float(np.mean(unknown >= thresholds[np.abs(recalls - recall).argmin()]))


# --- OpenOOD v1.5 -------------------------------------------------------------------------------------------------
def openood(id_scores: Scores, ood_scores: Scores, seed: int) -> dict[str, float | int]:
    """OpenOOD's columns: FPR95 with OOD as the positive class, AUROC, and areas under the precision-recall polygon.

    The polygon is no average precision: where many scores are equal it promises more than any threshold keeps.
    """
    ranks, is_id = joint_ranks(id_scores, ood_scores)
    return {
        "fpr95": fpr95_ood(id_scores, ood_scores),
        "auroc": auroc(id_scores, ood_scores),
        "aupr_in": _polygon(is_id, ranks),
        "aupr_out": _polygon(~is_id, -ranks),
    }


def _polygon(positive: np.ndarray, ranks: np.ndarray) -> float:
    from sklearn.metrics import auc, precision_recall_curve

    precision, recall, _ = precision_recall_curve(positive, ranks)
    return float(auc(recall, precision))


# --- all rows ---------------------------------------------------------------------------------------------------
PROTOCOLS: dict[str, Protocol | None] = {FULL: None, ENERGY_OOD: energy_ood, OPENOOD: openood}
NOTES = {
    FULL: "FPR95 ↓ share of OOD accepted at 95 % ID recall / AUROC ↑, percent",
    ENERGY_OOD: "energy_ood: FPR~95 ↓ share of OOD accepted where ID recall is nearest to 95 % / AUROC ↑, percent; "
    f"means of {DRAWS} draws of a {ID_TO_OOD}th as many OOD as ID images",
    OPENOOD: "openood: FPRood ↓ share of ID flagged at 95 % OOD recall / AUROC ↑, percent. OpenOOD tests on 9000 of CIFAR's "
    "10,000 ID test images and validates on the others; here all are tested, and validation comes out of the training images",
}
"""What the numbers of a protocol's table are, and where they are not those of its own code."""


def add_protocol(rows: list[dict], scores: dict[str, dict[str, torch.Tensor]], name: str, seed: int) -> None:
    """Put what the protocol ``name`` measures into each of ``rows`` (``score, dataset``), under its name; `full` adds nothing.

    ``scores``: by score and then by set (`id` among them) the scores of every image, (n,).
    """
    protocol = PROTOCOLS[name]
    if protocol is not None:
        for row in rows:
            row[name] = protocol(scores[row["score"]][ID], scores[row["score"]][row["dataset"]], seed)


def group_means(rows: list[dict], protocol: str) -> list[dict]:
    """The unweighted means over the OOD sets of each group (near, far), by score: ``score, group, datasets`` and the measures."""
    found = []
    for score, group in dict.fromkeys((row["score"], row["group"]) for row in rows):
        of_group = [row for row in rows if (row["score"], row["group"]) == (score, group)]
        mean = {"score": score, "group": group, "datasets": [row["dataset"] for row in of_group]} | _mean(of_group, SHARES)
        if protocol != FULL:
            parts = [row[protocol] for row in of_group]
            mean[protocol] = _mean(parts, [name for name in parts[0] if name in MEANT])
        found.append(mean)
    return found


def _mean(parts: list[dict], names: Iterable[str]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) / len(parts) for name in names}
