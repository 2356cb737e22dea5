"""Energy-bounded outlier exposure: low energy for ID images, high energy for outliers.

Liu et al., "Energy-based out-of-distribution detection" (NeurIPS 2020, arXiv 2010.03759), Eq. 8 and 9.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.data.augment import to_unit
from dogfast.training.batches import Batch, Batches
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective, Task

CHUNK, AT_MOST = 500, 4000


def energy(logits: Tensor) -> Tensor:
    """E(x) = -LSE(f) of logits (n, C), at temperature 1: (n,)."""
    return -logits.logsumexp(1)


def hinge_loss(id_energy: Tensor, ood_energy: Tensor, energy_in: Tensor, energy_out: Tensor) -> Tensor:
    """mean relu(E_in - m_in)² + mean relu(m_out - E_out)², a scalar (Eq. 9)."""
    return F.relu(id_energy - energy_in).square().mean() + F.relu(energy_out - ood_energy).square().mean()


class Margins(Objective):
    """m_in and m_out: as configured, else the start's mean energies of ID images and of outliers, as the paper advises.

    Margins are tied to the scale of the logits, so those published for one classifier do not fit another.
    """

    default: ClassVar[dict[str, float]] = {}
    """Margins that are not measured: of a method that starts from nothing, and so has no energies yet."""
    energy_in: Tensor
    energy_out: Tensor

    def __init__(self, task: Task):
        super().__init__(task)
        for name in ("energy_in", "energy_out"):
            given = getattr(task.methods, name)
            wanted = self.default.get(name) if given is None else given
            self.register_buffer(name, torch.tensor(float("nan") if wanted is None else wanted))

    def begin(self, learner: Learner, batches: Batches) -> None:
        with learner.looking():
            if self.energy_in.isnan():
                some = [learner.logits(images) for images, _ in batches.id_chunks(CHUNK, AT_MOST)]
                self.energy_in.copy_(energy(torch.cat(some)).mean())
            if self.energy_out.isnan():
                self.energy_out.copy_(energy(learner.logits(to_unit(batches.take_outliers(CHUNK)))).mean())


class EnergyExposure(Margins):
    """CE + 0.1 * (mean_ID relu(E - m_in)² + mean_OOD relu(m_out - E)²) from one forward of both."""

    brings = "images"
    reads = ("energy_",)

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        id_logits, ood_logits = batch.split(learner.logits(batch.joint))
        ce = F.cross_entropy(id_logits, batch.id_labels)
        hinge = hinge_loss(energy(id_logits), energy(ood_logits), self.energy_in, self.energy_out)
        learner.backward(ce + self.regime.oe_weight * hinge)
        learner.step()
        return {"ce": ce.detach(), "hinge": hinge.detach()}
