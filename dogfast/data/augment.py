"""Augmentation of whole batches where the images lie, in tensor operations."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def random_crop_flip(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Shift each image by up to ``pad`` px in both directions over a black border, and mirror half of them.

    ``images``: uint8 (n, 3, H, W) on any device; the result has the same shape, type and device. The draws come from
    ``generator`` on its own device, so a CPU generator gives the same crops on every device.
    The CIFAR recipe of wide residual networks (arXiv 1605.07146, section 3) is ``pad`` 4 at 32 px.
    """
    n, _, height, width = images.shape
    top = _draw(n, 2 * pad + 1, generator, images.device)
    left = _draw(n, 2 * pad + 1, generator, images.device)
    mirrored = _draw(n, 2, generator, images.device).bool()
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[torch.arange(n, device=images.device), :, top, left]
    return torch.where(mirrored[:, None, None, None], crops.flip(-1), crops)


def to_unit(images: Tensor) -> Tensor:
    """uint8 images of any shape to float32 in [0, 1]."""
    return images.float().div_(255)


def _draw(n: int, below: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randint(below, (n,), generator=generator, device=generator.device).to(device)
