"""Outlier exposure: be uncertain on outliers (Hendrycks, Mazeika and Dietterich, ICLR 2019, arXiv 1812.04606, Eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from dogfast.config.training import TrainingConfig
from dogfast.training.learner import Batch, Learner

PAPER_WEIGHT = 0.5


def oe_loss(logits_ood: Tensor) -> Tensor:
    """mean[LSE(f) - mean_k f_k] over logits (m, C), which is the cross-entropy to the uniform distribution.

    A scalar of at least log C, with equality where all logits of each row are equal.
    """
    return (logits_ood.logsumexp(1) - logits_ood.mean(1)).mean()


def exposed_step(learner: Learner, batch: Batch, weight: float) -> dict[str, Tensor]:
    """CE + ``weight`` * L_OE from one forward of ID and outliers together, and one step."""
    id_logits, ood_logits = batch.split(learner.logits(batch.joint))
    ce, oe = F.cross_entropy(id_logits, batch.id_labels), oe_loss(ood_logits)
    learner.backward(ce + weight * oe)
    learner.step()
    return {"ce": ce.detach(), "oe": oe.detach()}


@dataclass
class OutlierExposure:
    """CE + 0.5 * L_OE, or another ``oe_weight``."""

    config: TrainingConfig
    uses_outliers: ClassVar[bool] = True

    def __call__(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        weight = self.config.oe_weight
        return exposed_step(learner, batch, PAPER_WEIGHT if weight is None else weight)
