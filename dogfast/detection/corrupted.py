"""How many ID images are refused once they are blurred, noised or JPEG-coded, and how many of those are still recognised."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch

from dogfast.classifiers.evidence import Evidence, accuracy
from dogfast.data.codec import Codec
from dogfast.data.corruptions import SEVERITIES, corrupted
from dogfast.data.images import ImageSet
from dogfast.detection.scores import Score
from dogfast.detection.table import Rows
from dogfast.numerics.metrics import refused_share


def to_corrupt(images: ImageSet, count: int) -> ImageSet:
    """``count`` of ``images`` at most, by the hash of their keys, so that they are of all classes alike."""
    by_hash = sorted(range(len(images)), key=lambda row: hashlib.sha256(images.keys[row].encode()).digest())
    return images.rows(sorted(by_hash[:count]))


def corrupted_refusal(
    look: Callable[[torch.Tensor], Evidence],
    images: ImageSet,
    codec: Codec,
    scores: dict[str, Score],
    thresholds: dict[str, float],
) -> Rows:
    """What share of ``images``, under each corruption, each of ``scores`` puts below its threshold of ``thresholds``.

    Rows of ``corruption, severity, score, refused, id_accuracy, n``, shares in [0, 1]; the corruption ``none`` stands first,
    the same images coded once more as all others are. One corrupted set is held at a time.
    """
    rows = []
    for name, severity in SEVERITIES:
        seen = look(corrupted(images, name, severity, codec))
        common = {"corruption": name, "severity": severity, "id_accuracy": accuracy(seen, images.labels), "n": len(images)}
        for score, of in scores.items():
            rows.append(common | {"score": score, "refused": refused_share(of(seen), thresholds[score], f"ID images, {name}")})
    return rows
