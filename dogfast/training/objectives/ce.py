"""Cross-entropy on ID images: the starting classifier."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from dogfast.training.batches import Batch
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective


class CrossEntropy(Objective):
    """One plain step on the ID images."""

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        loss = F.cross_entropy(learner.logits(batch.id_images), batch.id_labels)
        learner.backward(loss)
        learner.step()
        return {"ce": loss.detach()}
