"""What every image classifier of ours is: normalisation, features, a linear head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Images to logits by way of features; the input normalisation is inside.

    ``mean`` and ``std`` are those of the training images in [0, 1], one each channel. A child has ``features`` and ``head``,
    the linear layer from features to logits.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def normalise(self, images: Tensor) -> Tensor:
        """Float images (n, 3, H, W) in [0, 1] as the network knows them."""
        return (images - self.mean[:, None, None]) / self.std[:, None, None]

    def features(self, images: Tensor) -> Tensor:
        """Float images (n, 3, H, W) in [0, 1] to the input of the head (n, d)."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of float images (n, 3, H, W) in [0, 1]."""
        return self.head(self.features(images))
