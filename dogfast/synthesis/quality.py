"""Images and latents that must not be stored: found before encoding, on the device, one reason each."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from dogfast.errors import DataError

FLAT_STD = 2.0
"""Images whose pixels deviate less than this from their mean, in 8-bit steps, show nothing."""

DARK_MEAN = 1.0
"""Images whose mean is at most this are black: a safety checker or an overflow made them."""

FLAT_LATENT_STD = 0.01
"""Latents whose values deviate less than this from their mean; those of pictures have about unit variance."""

MOST = 0.5
"""Beyond this share of unusable images a generator is not worth its time."""

FAULTS = ("", "not finite", "black", "flat")
"""What the codes of `faults` and `latent_faults` stand for."""


def faults(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Per image why it is refused, as its place in `FAULTS`: uint8 (n,) on the device, for words are the host's.

    ``decoded`` float (n, 3, H, W) as the decoder gave it, ``images`` the uint8 made of it.
    """
    broken = ~decoded.flatten(1).isfinite().all(1)
    pixels = images.flatten(1).float()
    black, flat = pixels.mean(1) <= DARK_MEAN, pixels.std(1) < FLAT_STD
    return _codes((3, flat), (2, black), (1, broken))


def latent_faults(latents: torch.Tensor) -> torch.Tensor:
    """The same for latents float16 (n, C, h, w) as they are stored; they cannot be black."""
    values = latents.flatten(1).float()
    return _codes((3, values.std(1) < FLAT_LATENT_STD), (1, ~values.isfinite().all(1)))


def _codes(*found: tuple[int, torch.Tensor]) -> torch.Tensor:
    """uint8 (n,): of each the last code whose fault it has, else 0."""
    codes = torch.zeros_like(found[0][1], dtype=torch.uint8)
    for code, has in found:
        codes = codes.masked_fill(has, code)
    return codes


class FaultCount:
    """Images of a source that are unusable, and that are not: those of its ``records``, and what is added."""

    def __init__(self, records: list[dict[str, Any]]):
        self.failed = sum(record.get("failed", 0) for record in records)
        self.good = sum(record["samples"] for record in records)

    def add(self, found: list[str]) -> None:
        """Count a shard by its faults, "" for none. Raises :class:`DataError` where most of it are unusable, and most of
        all: then it is the generator that is wrong, not an image."""
        failed = sum(map(bool, found))
        self.failed, self.good = self.failed + failed, self.good + len(found) - failed
        if failed > MOST * len(found) and self.failed > MOST * (self.failed + self.good):
            reasons = ", ".join(f"{count} {fault}" for fault, count in Counter(filter(None, found)).most_common())
            raise DataError(
                f"{failed} of {len(found)} images cannot be used however often they are painted ({reasons}), so nothing more is; "
                "try --precision fp32, another --decoder or --backend, more --steps, or do without --reject-id and --safety-checker"
            )
