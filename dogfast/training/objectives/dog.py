"""DOG: outlier exposure at weights moved to the worst regret (Eq. 8 and 9).

min_θ CE(θ) + γ L_OE(θ + αP), with P of :mod:`dogfast.training.perturbation`; γ is ``oe_weight`` (1), α is drawn every step.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dogfast.config.option import require
from dogfast.training.batches import Batch
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective, Task
from dogfast.training.objectives.oe import exposed_step, oe_loss
from dogfast.training.perturbation import Perturbation, drops, moved, regret_slope

ALTERNATE_CLIP = 1.0


class Dog(Objective):
    """Plain exposure with weight γ for ``wor_warmup`` epochs, then perturbed steps: "joint" (Eq. 9) or "alternate" (DOE).

    Losses: ``ce`` at θ, ``oe`` at θ + αP, ``regret`` = r² of Eq. 8's surrogate at θ.
    """

    brings = "images"
    reads = ("wor_",)
    compiles = False
    """The graph of one forward serves two backwards."""

    def __init__(self, task: Task, step: str = "", sign: str = "", warmup: int | None = None):
        super().__init__(task)
        methods = task.methods
        self.gamma, self.step_kind = task.regime.oe_weight, step or methods.wor_step
        self.warmup = methods.wor_warmup if warmup is None else warmup
        self.perturbation = Perturbation(
            task.model, methods.wor_strengths, sign or methods.wor_sign, methods.wor_smoothing, task.seed
        )

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        if learner.epoch < self.warmup:
            return exposed_step(learner, batch, self.gamma)
        step = self._joint if self.step_kind == "joint" else self._alternate
        return step(learner, batch, self.perturbation.strength(learner.at))

    def _joint(self, learner: Learner, batch: Batch, strength: float) -> dict[str, Tensor]:
        """∇CE(θ) + γ ∇L_OE(θ + αP), one step at θ. The weights never move, so nothing is to be restored.

        Without dropout the forward of CE is the proxy's too and serves both; in fp16 the slope would underflow. A step that is
        computed in parts takes P from the first of them.
        """
        id_logits, ood_logits = batch.split(learner.logits(batch.joint))
        if learner.part:
            slope = regret_slope(ood_logits.detach())
        elif drops(learner.model) or learner.precision == "fp16":
            slope = self._refresh(learner, batch)
        else:
            slope = self.perturbation.absorb(learner.model, ood_logits, learner.ranks)
        ce = F.cross_entropy(id_logits, batch.id_labels)
        learner.backward(ce)
        weights = self.perturbation.displace(learner.model, strength)
        oe = oe_loss(batch.split(learner.logits_aside(batch.joint, weights))[1])
        learner.backward(self.gamma * oe)
        learner.step()
        return {"ce": ce.detach(), "oe": oe.detach(), "regret": slope.square()}

    def _refresh(self, learner: Learner, batch: Batch) -> Tensor:
        return self.perturbation.refresh(learner.model, batch.joint, len(batch.id_images), learner.ranks)

    def _alternate(self, learner: Learner, batch: Batch, strength: float) -> dict[str, Tensor]:
        """A step on γ L_OE taken at θ + αP and carried back to θ, then a step on CE; each clipped to gradient norm 1."""
        require(learner.parts == 1, "--accumulate: two alternating steps cannot be computed in parts; choose --wor-step joint")
        slope = self._refresh(learner, batch)
        with moved(learner.model, self.perturbation.displace(learner.model, strength)):
            oe = oe_loss(batch.split(learner.logits_aside(batch.joint))[1])
            learner.backward(self.gamma * oe)
            learner.step(ALTERNATE_CLIP)
        ce = F.cross_entropy(batch.split(learner.logits(batch.joint))[0], batch.id_labels)
        learner.backward(ce)
        learner.step(ALTERNATE_CLIP)
        return {"ce": ce.detach(), "oe": oe.detach(), "regret": slope.square()}
