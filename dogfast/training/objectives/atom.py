"""ATOM: outliers are one more class, learned from those of a pool that are hard to tell, half of them attacked.

Chen et al., "ATOM: robustifying out-of-distribution detection using outlier mining" (ECML 2021, arXiv 2006.15207), Algorithm 1.
Without attacks (``atom_epsilon`` 0) it is the paper's NTOM.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.training.batches import Batch, Batches
from dogfast.training.learner import Learner
from dogfast.training.mining import draw_pool, score_pool, window
from dogfast.training.objective import Objective

MINED = 2.0
"""Outliers an epoch learns from, in ID images, where the pool is full."""
STEP = 1 / 4
"""Step of the attack in its radius: 2/255 of 8/255."""
ATTACKED = slice(0, None, 2)
"""The outliers of a batch that are attacked: every other one, so that processes agree on them."""


def attack(images: Tensor, loss: Callable[[Tensor], Tensor], epsilon: float, steps: int) -> Tensor:
    """``images`` (n, 3, H, W) moved by up to ``epsilon`` a value, within [0, 1], to raise ``loss``, a mean over images.

    Projected gradient ascent (Madry et al. 2018, arXiv 1706.06083) from a random start, ``steps`` times
    x <- clip(x + epsilon / 4 * sign(dloss/dx)). Gradients reach the images alone.
    """
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    moved = images + epsilon * (2 * torch.rand_like(images) - 1)
    for _ in range(steps):
        moved = moved.clamp(low, high).requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(loss(moved), moved)
        moved = moved.detach() + STEP * epsilon * slope.sign()
    return moved.clamp(low, high)


class Atom(Objective):
    """CE_ID + 1.0 * CE_OOD(label K) over K + 1 logits, from one forward of both; the score is p(K+1).

    Every epoch a pool of ``atom_pool`` x |ID| outliers is sorted by p(K+1), the lowest ``atom_quantile`` of it is passed over
    and the next 2 x |ID| are learned from. A set smaller than such a pool gives as large a part of itself (a quarter at
    the defaults), for 2 x |ID| would be all of it, and nothing chosen.
    """

    brings = "images"
    reads = ("atom_",)
    rejects = True

    def begin_epoch(self, learner: Learner, batches: Batches) -> None:
        pool = draw_pool(batches, self.methods.atom_pool)
        scores = score_pool(learner, pool, lambda images: self._logits(learner, images).softmax(1)[:, -1])
        chosen = window(scores, self.methods.atom_quantile, MINED / self.methods.atom_pool)
        batches.focus_on(pool[chosen.to(pool.device)], learner.epoch)

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        outliers = self._attacked(learner, batch.outliers) if self.methods.atom_epsilon else batch.outliers
        mixed = Batch(batch.id_images, batch.id_labels, outliers)
        id_logits, ood_logits = mixed.split(self._logits(learner, mixed.joint))
        ce, ood = F.cross_entropy(id_logits, batch.id_labels), rejection_loss(ood_logits).mean()
        learner.backward(ce + self.regime.oe_weight * ood)
        learner.step()
        return {"ce": ce.detach(), "ood": ood.detach()}

    def _logits(self, learner: Learner, images: Tensor) -> Tensor:
        """(n, K + 1), the class of outliers last."""
        features = learner.features(images)
        return torch.cat([learner.head(features), learner.model.rejection(features)], 1)

    def _attacked(self, learner: Learner, outliers: Tensor) -> Tensor:
        """``outliers``, every other one attacked at the weights and running statistics of evaluation."""
        methods, mixed = self.methods, outliers.clone()
        with learner.looking():
            mixed[ATTACKED] = attack(
                outliers[ATTACKED],
                lambda images: learner.scaler.scale(rejection_loss(self._logits(learner, images)).mean()),
                methods.atom_epsilon,
                methods.atom_attack_steps,
            )
        return mixed


def rejection_loss(logits: Tensor) -> Tensor:
    """-log p(K+1) of logits (n, K + 1): (n,)."""
    return logits.logsumexp(1) - logits[:, -1]
