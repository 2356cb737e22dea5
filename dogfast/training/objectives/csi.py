"""CSI for labelled images: an image turned by 90 degrees is of another class than the image.

Tack et al., "CSI: Novelty detection via contrastive learning on distributionally shifted instances" (NeurIPS 2020, arXiv
2007.08176), section 2.3 with labels (class, rotation): `contrast_loss` at temperature 0.07 over 2 views x 4 rotations with
4 C labels. Then a linear head on the frozen features of the four rotations, whose logits are the mean of four heads' logits.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.classifiers.rotations import ROTATIONS
from dogfast.data.augment import Draws, two_views
from dogfast.training.batches import Batch, Batches
from dogfast.training.learner import Learner
from dogfast.training.linear_head import fit_head
from dogfast.training.objective import Objective, Task
from dogfast.training.objectives.supcon import contrast_loss, projection, views_of

TEMPERATURE = 0.07


class Csi(Objective):
    """`contrast_loss` of every view's four rotations, over the images of all processes; the head is fitted at the end.

    With `--accumulate`, images are contrasted within a part.
    """

    rotates: ClassVar[bool] = True

    def __init__(self, task: Task):
        super().__init__(task)
        self.projection = projection(task.model.backbone.head.in_features)

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        return two_views(images, draws)

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        views, labels = views_of(batch)
        features = learner.features(views).unflatten(1, (ROTATIONS, -1)).flatten(0, 1)
        points = F.normalize(self.projection(features), dim=1)
        turned = labels[:, None] * ROTATIONS + torch.arange(ROTATIONS, device=labels.device)
        loss = contrast_loss(learner.ranks.gather(points), learner.ranks.gather(turned.flatten()), TEMPERATURE)
        learner.backward(loss)
        learner.step()
        return {"contrast": loss.detach()}

    def finish(self, learner: Learner, batches: Batches) -> None:
        fit_head(learner, batches)
