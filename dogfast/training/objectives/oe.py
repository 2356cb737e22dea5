"""Outlier exposure: be uncertain on outliers (Hendrycks, Mazeika and Dietterich, ICLR 2019, arXiv 1812.04606, Eq. 1)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dogfast.training.batches import Batch
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective


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


class OutlierExposure(Objective):
    """CE + 0.5 * L_OE, or another ``oe_weight``."""

    brings = "images"

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        return exposed_step(learner, batch, self.regime.oe_weight)
