"""Noise that belongs to an image, not to a batch: a counter-based generator keyed by the image's own seed."""

from __future__ import annotations

import numpy as np
import torch


def gaussian_noise(seeds: list[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise float32 (n, *shape), row i a function of ``seeds[i]`` alone."""
    bits = np.random.Philox(key=0)
    generator, state = np.random.Generator(bits), bits.state
    rows = np.empty((len(seeds), *shape), np.float32)
    for row, seed in zip(rows, seeds):
        state["state"]["key"][:] = seed, 0
        bits.state = state  # as a new Philox(key=seed), which would first ask the system for entropy that it does not use
        generator.standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(rows)
