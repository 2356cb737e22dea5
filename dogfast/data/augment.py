"""Augmentation of whole batches where the images lie, in tensor operations."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Draws:
    """Random numbers for some ``rows`` of a batch of ``total`` images, drawn for all of them.

    The draws come from ``generator`` on its own device, so a CPU generator gives the same ones on every device, and
    processes that share a batch see what one alone would see.
    """

    generator: torch.Generator
    total: int
    rows: slice = field(default_factory=lambda: slice(None))

    def integers(self, below: int, device: torch.device) -> Tensor:
        """(n,) of 0 … ``below`` - 1."""
        drawn = torch.randint(below, (self.total,), generator=self.generator, device=self.generator.device)
        return drawn[self.rows].to(device)

    def uniform(self, device: torch.device, columns: int = 1) -> Tensor:
        """(n, columns) in [0, 1)."""
        drawn = torch.rand(self.total, columns, generator=self.generator, device=self.generator.device)
        return drawn[self.rows].to(device)


def random_crop_flip(images: Tensor, pad: int, draws: Draws) -> Tensor:
    """Shift each image by up to ``pad`` px in both directions over a black border, and mirror half of them.

    ``images``: uint8 (n, 3, H, W) on any device; the result has the same shape, type and device.
    The CIFAR recipe of wide residual networks (arXiv 1605.07146, section 3) is ``pad`` 4 at 32 px.
    """
    n, _, height, width = images.shape
    top = draws.integers(2 * pad + 1, images.device)
    left = draws.integers(2 * pad + 1, images.device)
    mirrored = draws.integers(2, images.device).bool()
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[torch.arange(n, device=images.device), :, top, left]
    return torch.where(mirrored[:, None, None, None], crops.flip(-1), crops)


def to_unit(images: Tensor) -> Tensor:
    """uint8 images of any shape to float32 in [0, 1]."""
    return images.float().div_(255)
