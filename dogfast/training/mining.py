"""Choosing an epoch's outliers: a pool is drawn, scored by the classifier as it stands, and a part of it is kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dogfast.data.augment import to_unit
from dogfast.training.batches import Batches
from dogfast.training.learner import Learner

CHUNK = 500


def draw_pool(batches: Batches, share: float) -> Tensor:
    """The next ``share`` x |ID| outliers where they lie, uint8 (n, 3, H, W), but no more than there are.

    So a set that is known to be smaller is not in its own pool several times. Processes can share n evenly.
    """
    assert batches.outliers is not None
    held = getattr(batches.outliers, "rows", None)
    wanted = max(round(share * len(batches.images)), 1)
    count = wanted if held is None else min(wanted, len(held))
    count = -(-count // batches.ranks.count) * batches.ranks.count
    return torch.cat([batches.outliers.take(min(CHUNK, count - taken)) for taken in range(0, count, CHUNK)])


def score_pool(learner: Learner, pool: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """(n,) of ``pool``, by the classifier in evaluation mode, the same on every process: each scores its part.

    ``score``: float images (m, 3, H, W) in [0, 1] on the device to (m,).
    """
    with learner.looking():
        chunks = pool[learner.ranks.rows(len(pool))].split(CHUNK)
        return learner.ranks.gather(torch.cat([score(to_unit(_near(chunk, learner.device))) for chunk in chunks]))


def window(scores: Tensor, first: float, share: float) -> Tensor:
    """Which rows have the lowest ``scores`` (n,) behind the quantile ``first``: indices of ``share`` of all, at least one.

    Those with equal scores stand in their order; where fewer than ``share`` are left, all of them.
    """
    skipped = int(first * len(scores))
    return scores.argsort(stable=True)[skipped : skipped + max(round(share * len(scores)), 1)]


def _near(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device).contiguous(memory_format=torch.channels_last)
