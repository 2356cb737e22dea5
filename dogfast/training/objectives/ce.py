"""Cross-entropy on ID images: the starting classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from dogfast.config.training import TrainingConfig
from dogfast.training.learner import Batch, Learner


@dataclass
class CrossEntropy:
    """One plain step on the ID images."""

    config: TrainingConfig
    uses_outliers: ClassVar[bool] = False

    def __call__(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        loss = F.cross_entropy(learner.logits(batch.id_images), batch.id_labels)
        learner.backward(loss)
        learner.step()
        return {"ce": loss.detach()}
