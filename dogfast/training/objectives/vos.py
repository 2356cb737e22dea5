"""VOS: virtual outliers drawn where a class's features are least likely.

Du et al., "VOS: Learning what you don't know by virtual outlier synthesis" (ICLR 2022, arXiv 2202.01197), sections 3.1 and 3.2. With
E_w(x) = -log sum_k relu(w_k) e^{f_k} and a logistic head φ from an energy to two classes, a step minimises

CE(ID) + oe_weight * mean[-log softmax(φ(E_w))_t],

the mean going over the step's ID images (t = 1) and one virtual outlier a class (t = 0) together. A virtual outlier is the
least likely of `virtual_draws` draws from N(μ_c, Σ), fitted to the queues of features with 1e-4 I added to the tied Σ.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dogfast.numerics.gaussian import fit_tied, least_likely
from dogfast.seeds import stream
from dogfast.training.batches import Batch, Batches
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective, Task
from dogfast.training.queues import ClassQueue

SHRINKAGE = 1e-4


def weighted_energy(logits: Tensor, weights: Tensor) -> Tensor:
    """E_w = -log sum_k relu(w_k) e^{f_k} of logits (n, C) and ``weights`` (C,): (n,). Large, but finite, where no weight is positive."""
    largest = logits.detach().amax(1, keepdim=True)
    total = ((logits - largest).exp() * F.relu(weights)).sum(1)
    return -largest[:, 0] - total.clamp(min=torch.finfo(total.dtype).tiny).log()


class Vos(Objective):
    """Cross-entropy alone for `virtual_start` of the epochs, and until every queue is full; then virtual outliers too."""

    reads = ("virtual_",)

    def __init__(self, task: Task):
        super().__init__(task)
        self.seed, self.draws = task.seed, task.methods.virtual_draws
        self.first_epoch = round(task.methods.virtual_start * task.regime.epochs)
        self.queue = ClassQueue(task.classes, task.methods.virtual_queue, task.width)
        self.energy_weights = nn.Parameter(torch.rand(task.classes))
        self.logistic = nn.Linear(1, 2)

    def begin(self, learner: Learner, batches: Batches) -> None:
        self.queue.expect(batches.labels, max(self.first_epoch, 1))

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        """Features of all processes are looked at together, so that several draw and learn what one would."""
        features = learner.ranks.gather(learner.features(batch.id_images))
        labels = learner.ranks.gather(batch.id_labels)
        self.queue.push(features.detach(), labels)
        logits = learner.head(features)
        loss = ce = F.cross_entropy(logits, labels)
        losses = {"ce": ce.detach()}
        if learner.epoch >= self.first_epoch:
            virtual = self._virtual_loss(learner, logits)
            loss, losses["virtual"] = ce + self.regime.oe_weight * virtual, virtual.detach()
        learner.backward(loss)
        learner.step()
        return losses

    def _virtual_loss(self, learner: Learner, id_logits: Tensor) -> Tensor:
        """The logistic loss of ID and virtual energies; 0 until the queues are full."""
        virtual_logits = learner.head(self._outliers(learner).to(id_logits.dtype))
        energies = weighted_energy(torch.cat([id_logits, virtual_logits]), self.energy_weights)
        is_id = torch.arange(len(energies), device=energies.device) < len(id_logits)
        return torch.where(self.queue.full, F.cross_entropy(self.logistic(energies[:, None]), is_id.long()), 0.0)

    @torch.no_grad()
    def _outliers(self, learner: Learner) -> Tensor:
        """One for every class: (C, d)."""
        features = self.queue.features
        labels = torch.arange(len(features), device=features.device).repeat_interleave(features.shape[1])
        gaussian = fit_tied(features.flatten(0, 1), labels, len(features), SHRINKAGE)
        return least_likely(gaussian, self.draws, stream(self.seed, "virtual", learner.at, learner.part))
