"""Images that must not be stored: found before encoding, on the device, one reason an image."""

from __future__ import annotations

import torch

FLAT_STD = 2.0
"""Images whose pixels deviate less than this from their mean, in 8-bit steps, show nothing."""

DARK_MEAN = 1.0
"""Images whose mean is at most this are black: a safety checker or an overflow made them."""


def faults(decoded: torch.Tensor, images: torch.Tensor) -> list[str]:
    """Per image "" or why it is refused: "not finite", "black" or "flat".

    ``decoded`` float (n, 3, H, W) as the decoder gave it, ``images`` the uint8 made of it.
    """
    finite = decoded.flatten(1).isfinite().all(1)
    pixels = images.flatten(1).float()
    black, flat = pixels.mean(1) <= DARK_MEAN, pixels.std(1) < FLAT_STD
    return [
        "not finite" if not ok else "black" if dark else "flat" if empty else ""
        for ok, dark, empty in zip(finite.tolist(), black.tolist(), flat.tolist())
    ]
