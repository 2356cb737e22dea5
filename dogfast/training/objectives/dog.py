"""DOG: outlier exposure at weights moved to the worst regret (Eq. 8 and 9).

min_θ CE(θ) + γ L_OE(θ + αP), with P of :mod:`dogfast.training.perturbation`; γ is ``oe_weight`` (1), α is drawn every step.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from dogfast.config.training import TrainingConfig
from dogfast.training.learner import Batch, Learner
from dogfast.training.objectives.oe import exposed_step, oe_loss
from dogfast.training.perturbation import Perturbation, drops, moved

PAPER_GAMMA = 1.0
ALTERNATE_CLIP = 1.0


class Dog:
    """Plain exposure with weight γ for ``wor_warmup`` epochs, then perturbed steps: "joint" (Eq. 9) or "alternate" (DOE).

    Losses: ``ce`` at θ, ``oe`` at θ + αP, ``regret`` = r² of Eq. 8's surrogate at θ.
    """

    uses_outliers: ClassVar[bool] = True

    def __init__(self, config: TrainingConfig):
        self.config = config
        self.gamma = PAPER_GAMMA if config.oe_weight is None else config.oe_weight
        self.perturbation = Perturbation(config.wor_strengths, config.wor_sign, config.wor_smoothing, config.train_seed)

    def __call__(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        if learner.epoch < self.config.wor_warmup:
            return exposed_step(learner, batch, self.gamma)
        step = self._joint if self.config.wor_step == "joint" else self._alternate
        return step(learner, batch, self.perturbation.draw_strength())

    def _joint(self, learner: Learner, batch: Batch, strength: float) -> dict[str, Tensor]:
        """∇CE(θ) + γ ∇L_OE(θ + αP), one step at θ. The weights never move, so nothing is to be restored.

        Without dropout the forward of CE is the proxy's too and serves both, in the learner's precision.
        """
        id_logits, ood_logits = batch.split(learner.logits(batch.joint))
        slope = self._refresh(learner, batch) if drops(learner.model) else self.perturbation.absorb(learner.model, ood_logits)
        ce = F.cross_entropy(id_logits, batch.id_labels)
        learner.backward(ce)
        weights = self.perturbation.displace(learner.model, strength)
        oe = oe_loss(batch.split(learner.logits_aside(batch.joint, weights))[1])
        learner.backward(self.gamma * oe)
        learner.step()
        return {"ce": ce.detach(), "oe": oe.detach(), "regret": slope.square()}

    def _refresh(self, learner: Learner, batch: Batch) -> Tensor:
        return self.perturbation.refresh(learner.model, batch.joint, len(batch.id_images))

    def _alternate(self, learner: Learner, batch: Batch, strength: float) -> dict[str, Tensor]:
        """A step on γ L_OE taken at θ + αP and carried back to θ, then a step on CE; each clipped to gradient norm 1."""
        slope = self._refresh(learner, batch)
        with moved(learner.model, self.perturbation.displace(learner.model, strength)):
            oe = oe_loss(batch.split(learner.logits_aside(batch.joint))[1])
            learner.backward(self.gamma * oe)
            learner.step(ALTERNATE_CLIP)
        ce = F.cross_entropy(batch.split(learner.logits(batch.joint))[0], batch.id_labels)
        learner.backward(ce)
        learner.step(ALTERNATE_CLIP)
        return {"ce": ce.detach(), "oe": oe.detach(), "regret": slope.square()}
