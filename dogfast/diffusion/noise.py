"""Noise that belongs to an image, not to a batch: a counter-based generator keyed by the image's own seed."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

SEED_BITS = 53
"""Seeds stay below 2**53, so that every JSON reader keeps them exactly."""


def derive_seed(*parts: str | int) -> int:
    """A seed from the hash of ``parts``: the same image gets the same noise for any batch, worker or order."""
    key = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(key[:8], "big") >> (64 - SEED_BITS)


def gaussian_noise(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise float32 (n, *shape), row i a function of ``seeds[i]`` alone."""
    rows = [np.random.Generator(np.random.Philox(key=seed)).standard_normal(shape, dtype=np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))
