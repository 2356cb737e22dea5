"""Supervised contrastive learning, the backbone of KNN+: images of a class together, all others apart.

Khosla et al., "Supervised contrastive learning" (NeurIPS 2020, arXiv 2004.11362), Eq. 2; Sun et al., "Out-of-distribution
detection with deep nearest neighbors" (ICML 2022, arXiv 2204.06507) score the features behind it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dogfast.data.augment import Draws, two_views
from dogfast.training.batches import Batch, Batches
from dogfast.training.learner import Learner
from dogfast.training.linear_head import fit_head
from dogfast.training.objective import Objective, Task

PROJECTED = 128


def contrast_loss(points: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """mean_i -1/|P(i)| sum_{p in P(i)} log[e^{z_i.z_p / τ} / sum_{a != i} e^{z_i.z_a / τ}], a scalar (L_out of Eq. 2).

    ``points``: unit z (n, p); ``labels``: (n,); P(i) are the others of i's label. A row without any counts as 0.
    """
    itself = torch.eye(len(points), dtype=torch.bool, device=points.device)
    chances = (points @ points.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)
    positive = (labels[:, None] == labels) & ~itself
    of_row = torch.where(positive, chances, 0.0).sum(1) / positive.sum(1).clamp(min=1)
    return -of_row.mean()


def projection(width: int) -> nn.Sequential:
    """Features (n, width) to what is contrasted (n, 128), which is not yet of unit length."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTED))


def views_of(batch: Batch) -> tuple[Tensor, Tensor]:
    """The views (2n, 3, H, W) of a batch of pairs of views, each beside its other, and their labels (2n,)."""
    images = batch.id_images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return images, batch.id_labels.repeat_interleave(2)


class SupCon(Objective):
    """`contrast_loss` of two views an image, over the images of all processes; the head is fitted at the end.

    With `--accumulate`, images are contrasted within a part.
    """

    reads = ("contrast_temperature",)

    def __init__(self, task: Task):
        super().__init__(task)
        self.temperature, self.projection = task.methods.contrast_temperature, projection(task.width)

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        return two_views(images, draws)

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        views, labels = views_of(batch)
        points = F.normalize(self.projection(learner.features(views)), dim=1)
        loss = contrast_loss(learner.ranks.gather(points), learner.ranks.gather(labels), self.temperature)
        learner.backward(loss)
        learner.step()
        return {"contrast": loss.detach()}

    def finish(self, learner: Learner, batches: Batches) -> None:
        fit_head(learner, batches)
