"""What a CLIP image tower expects of its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch

from dogfast.diffusion.autoencoder import resize


@dataclass(frozen=True)
class Pixels:
    """Side in pixels, and mean and deviation of RGB in [0, 1]."""

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def prepared(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (n, 3, H, W) to float (n, 3, side_px, side_px) of zero mean and unit deviation, on the same device."""
        unit = resize(images.float() / 255, self.side_px).clamp(0, 1)
        mean, std = _statistics(self, images.device)
        return (unit - mean) / std


@cache
def _statistics(pixels: Pixels, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (3, 1, 1) on ``device``, brought there once: the way there is one that waits."""
    return tuple(torch.tensor(value, device=device)[:, None, None] for value in (pixels.mean, pixels.std))
