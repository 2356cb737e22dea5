"""Augmentation of whole batches where the images lie, in tensor operations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

PART_AREA, VIEW_AREA = (0.08, 1.0), (0.2, 1.0)
"""Least and largest part of an image that a window covers: ImageNet's convention, and that of contrastive learning."""
TRIES = 10
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
"""Red, green and blue to luma and two axes of colour (NTSC 1953)."""


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


def two_views(images: Tensor, draws: Draws) -> Tensor:
    """Two views of each image, in the way of contrastive learning (arXiv 2002.05709, appendix A): (n, 2, 3, H, W), unit floats.

    ``images``: uint8 (n, 3, H, W). A view is a `random_window` of 20 to 100 % of the area and, in four of five, a change of
    colours by up to 0.4 (hue: 0.1 turns); one of five is grey.
    """
    images = to_unit(images)
    return torch.stack([_recoloured(random_window(images, VIEW_AREA, draws), draws) for _ in range(2)], 1)


def random_window(images: Tensor, area: tuple[float, float], draws: Draws) -> Tensor:
    """A window of each square float image (n, 3, S, S), brought to the image's size; half of them mirrored.

    ``area``: the least and the largest part of the image it covers; its sides are as 3 : 4 to 4 : 3. As torchvision draws
    them (after Szegedy et al. 2015, arXiv 1409.4842), of ten windows the first that fits into the image, else all of it. A
    window is never larger than the result, so nothing is to be smoothed.
    """
    drawn = draws.uniform(images.device, 2 * TRIES + 3)
    shares, shapes = drawn[:, :TRIES], torch.exp((2 * drawn[:, TRIES : 2 * TRIES] - 1) * math.log(4 / 3))
    shares = area[0] + (area[1] - area[0]) * shares
    sides = torch.stack([(shares * shapes).sqrt(), (shares / shapes).sqrt()], 2)
    fits, each = (sides <= 1).all(2), torch.arange(len(images), device=images.device)
    first = fits.float().argmax(1)
    width, height = torch.where(fits[each, first][:, None], sides[each, first], 1.0).unbind(1)
    left, top, mirror = drawn[:, -3:].unbind(1)
    zero, across = torch.zeros_like(width), torch.where(mirror < 0.5, -width, width)
    rows = [across, zero, (1 - width) * (2 * left - 1), zero, height, (1 - height) * (2 * top - 1)]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def recolour(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Float images (n, 3, H, W) in [0, 1] with other colours, clamped to [0, 1]; the rest (n,), of which 1, 1, 1, 0 change nothing.

    ``saturation`` 0 is grey; ``hue`` turns colours around grey, in YIQ's plane of I and Q, 1 being all around. All of it is
    one linear map of an image's colours, and ``contrast`` then draws them from the image's mean grey.
    """
    to_yiq, back = (matrix.to(images) for matrix in (torch.tensor(YIQ), torch.linalg.inv(torch.tensor(YIQ))))
    one, zero, angle = torch.ones_like(hue), torch.zeros_like(hue), 2 * math.pi * hue
    along, beside = saturation * angle.cos(), saturation * angle.sin()
    rows = [one, zero, zero, zero, along, -beside, zero, beside, along]
    map_ = brightness[:, None, None] * (back @ torch.stack(rows, 1).view(-1, 3, 3) @ to_yiq)
    found = torch.einsum("nij,njhw->nihw", map_, images)
    grey = torch.einsum("j,njhw->n", to_yiq[0], found) / images[0, 0].numel()
    contrast, grey = contrast[:, None, None, None], grey[:, None, None, None]
    return (contrast * found + (1 - contrast) * grey).clamp(0, 1)


def _recoloured(images: Tensor, draws: Draws) -> Tensor:
    """`recolour` by chance, as `two_views` says."""
    changed, greyed, *amounts = draws.uniform(images.device, 6).unbind(1)
    reach = torch.where(changed < 0.8, 1.0, 0.0)
    brightness, contrast, saturation = (1 + reach * 0.4 * (2 * amount - 1) for amount in amounts[:3])
    saturation = torch.where(greyed < 0.2, 0.0, saturation)
    return recolour(images, brightness, contrast, saturation, reach * 0.1 * (2 * amounts[3] - 1))


def to_unit(images: Tensor) -> Tensor:
    """uint8 images of any shape to float32 in [0, 1]."""
    return images.float().div_(255)
