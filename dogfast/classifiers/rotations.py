"""Logits averaged over the four rotations of an image (CSI's supervised score; Tack et al. 2020, arXiv 2007.08176)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ROTATIONS = 4


def turned(images: Tensor) -> Tensor:
    """Images (n, C, S, S) turned by 0, 90, 180 and 270 degrees: (4n, C, S, S), all of one angle together."""
    return torch.cat([images.rot90(quarter, (2, 3)) for quarter in range(ROTATIONS)])


class RotationAveraged(nn.Module):
    """A classifier that looks at four rotations of an image: one head over the features of all of them.

    The mean over rotations of linear heads, be they one or four, is one linear head on the concatenated features, so every
    score of features and head applies. At first it averages what the ``backbone``'s own head says.
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        own = backbone.head
        self.head = nn.Linear(ROTATIONS * own.in_features, own.out_features, own.bias is not None)
        with torch.no_grad():
            self.head.weight.copy_(own.weight.repeat(1, ROTATIONS) / ROTATIONS)
            if own.bias is not None:
                self.head.bias.copy_(own.bias)

    def features(self, images: Tensor) -> Tensor:
        """Float images (n, 3, S, S) in [0, 1] to the features of their rotations side by side (n, 4d)."""
        return self.backbone.features(turned(images)).unflatten(0, (ROTATIONS, images.shape[0])).movedim(0, 1).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of float images (n, 3, S, S) in [0, 1]."""
        return self.head(self.features(images))
