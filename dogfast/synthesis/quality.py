"""Images that must not be stored: found before encoding, on the device, one reason an image."""

from __future__ import annotations

import torch

FLAT_STD = 2.0
"""Images whose pixels deviate less than this from their mean, in 8-bit steps, show nothing."""

DARK_MEAN = 1.0
"""Images whose mean is at most this are black: a safety checker or an overflow made them."""

FAULTS = ("", "not finite", "black", "flat")
"""What the codes of `faults` stand for."""


def faults(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Per image why it is refused, as its place in `FAULTS`: uint8 (n,) on the device, for words are the host's.

    ``decoded`` float (n, 3, H, W) as the decoder gave it, ``images`` the uint8 made of it.
    """
    broken = ~decoded.flatten(1).isfinite().all(1)
    pixels = images.flatten(1).float()
    black, flat = pixels.mean(1) <= DARK_MEAN, pixels.std(1) < FLAT_STD
    codes = torch.zeros_like(broken, dtype=torch.uint8)
    for code, found in ((3, flat), (2, black), (1, broken)):
        codes = codes.masked_fill(found, code)
    return codes
