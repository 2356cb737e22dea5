"""POEM: energy-bounded exposure to the outliers nearest to a boundary drawn from what is believed of it.

Ming, Fan and Li, "POEM: out-of-distribution detection with posterior sampling" (ICML 2022, arXiv 2206.13687), section 3 and
Algorithm 1: Bayesian linear regression on features z, with targets -3 for ID images and 3 for outliers,

    A = Z^T Z / sigma_n² + I / sigma²,   mean = A^-1 Z^T y / sigma_n²,   w ~ N(mean, A^-1).

This is the textbook's covariance; the authors' release draws from sigma² A^-1, and takes the features of the last four
epochs' images anew, where here those stay that the steps saw.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.seeds import stream
from dogfast.training.batches import Batch, Batches
from dogfast.training.learner import Learner
from dogfast.training.mining import draw_pool, score_pool, window
from dogfast.training.objective import Task
from dogfast.training.objectives.energy_oe import Margins, energy, hinge_loss

EPOCHS = 4
"""The posterior knows the features of so many epochs."""
TARGET = 3.0
MINED = 1.0
"""Outliers an epoch learns from, in ID images, where the pool is full."""


def draw_boundary(products: Tensor, moment: Tensor, prior: float, noise: float, standard: Tensor) -> Tensor:
    """A draw w (d,) from the posterior, in float64: its mean, and ``standard`` (d,), of N(0, I), brought to covariance A^-1.

    ``products``: Z^T Z (d, d); ``moment``: Z^T y (d,); ``prior`` and ``noise`` are variances. Not finite where features are
    so large that A cannot be decomposed.
    """
    eye = torch.eye(len(products), dtype=products.dtype, device=products.device)
    root, _ = torch.linalg.cholesky_ex(products / noise + eye / prior)
    mean = torch.cholesky_solve((moment / noise)[:, None], root)
    return (mean + torch.linalg.solve_triangular(root.mT, standard[:, None], upper=True))[:, 0]


class Poem(Margins):
    """CE + 0.1 * energy hinge (as `energy-oe`, with the paper's margins) on the outliers an epoch has chosen.

    Every epoch w is drawn anew, and of a pool of ``atom_pool`` x |ID| outliers the |ID| with the smallest |w^T z| are learned
    from; a set smaller than such a pool gives as large a part of itself (an eighth at the default). Before the first epoch
    w comes from the prior. One draw of noise is common to all targets, as in the release.
    """

    brings = "images"
    reads = ("energy_", "poem_", "atom_pool")
    default: ClassVar[dict[str, float]] = {"energy_in": -25.0, "energy_out": -7.0}
    products: Tensor
    sums: Tensor

    def __init__(self, task: Task):
        super().__init__(task)
        self.seed = task.seed
        self.register_buffer("products", torch.zeros(EPOCHS, task.width, task.width, dtype=torch.float64))
        """Z^T Z of each of the last epochs."""
        self.register_buffer("sums", torch.zeros(EPOCHS, 2, task.width, dtype=torch.float64))
        """The sum of ID features and of outlier features of each."""

    def begin_epoch(self, learner: Learner, batches: Batches) -> None:
        boundary = self._boundary(learner.epoch)
        pool = draw_pool(batches, self.methods.atom_pool)
        distances = score_pool(learner, pool, lambda images: (learner.features(images).double() @ boundary).abs())
        chosen = window(distances, 0.0, MINED / self.methods.atom_pool)
        batches.focus_on(pool[chosen.to(pool.device)], learner.epoch)
        self.products[learner.epoch % EPOCHS].zero_()
        self.sums[learner.epoch % EPOCHS].zero_()

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        id_features, ood_features = batch.split(learner.features(batch.joint))
        id_logits, ood_logits = learner.head(id_features), learner.head(ood_features)
        ce = F.cross_entropy(id_logits, batch.id_labels)
        hinge = hinge_loss(energy(id_logits), energy(ood_logits), self.energy_in, self.energy_out)
        learner.backward(ce + self.regime.oe_weight * hinge)
        learner.step()
        self._remember(learner, id_features.detach(), ood_features.detach())
        return {"ce": ce.detach(), "hinge": hinge.detach()}

    def _boundary(self, epoch: int) -> Tensor:
        """w of ``epoch``: (d,)."""
        methods, (noise,) = self.methods, torch.randn(1, generator=stream(self.seed, "target noise")).tolist()
        shift = methods.poem_noise**0.5 * noise
        id_sum, ood_sum = self.sums.sum(0)
        moment = (shift - TARGET) * id_sum + (shift + TARGET) * ood_sum
        standard = torch.randn(len(moment), generator=stream(self.seed, "boundary", epoch), dtype=torch.float64)
        return draw_boundary(self.products.sum(0), moment, methods.poem_prior, methods.poem_noise, standard.to(moment.device))

    def _remember(self, learner: Learner, id_features: Tensor, ood_features: Tensor) -> None:
        """Add the features of every process to this epoch's sums, unless they are not finite."""
        kept = [learner.ranks.gather(features).double() for features in (id_features, ood_features)]
        both = torch.cat(kept)
        usable = both.isfinite().all()
        slot = learner.epoch % EPOCHS
        for total, new in ((self.products[slot], both.mT @ both), (self.sums[slot], torch.stack([k.sum(0) for k in kept]))):
            total += torch.where(usable, new, torch.zeros_like(new))
