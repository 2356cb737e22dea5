"""Images without content: the three noises of the OOD literature."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image, ImageFilter


def keyed_generator(name: str, split: str, index: int) -> np.random.Generator:
    key = hashlib.sha256(f"{name}/{split}/{index}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))


def gaussian(split: str, index: int, side_px: int) -> np.ndarray:
    """Independent N(0.5, 1) pixels clipped to [0, 1] (Hendrycks et al. 2019): uint8 (side, side, 3)."""
    pixels = keyed_generator("gaussian", split, index).normal(0.5, 1.0, (side_px, side_px, 3))
    return (pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def rademacher(split: str, index: int, side_px: int) -> np.ndarray:
    """Every channel of every pixel 0 or 255 with equal chance: uint8 (side, side, 3)."""
    return keyed_generator("rademacher", split, index).integers(0, 2, (side_px, side_px, 3)).astype(np.uint8) * 255


def blobs(split: str, index: int, side_px: int) -> np.ndarray:
    """Blurred noise cut at its mean: amorphous shapes with hard edges, uint8 (side, side, 3)."""
    rng = keyed_generator("blobs", split, index)
    noise = Image.fromarray(rng.integers(0, 256, (side_px, side_px, 3)).astype(np.uint8))
    soft = np.asarray(noise.filter(ImageFilter.GaussianBlur(1.5 * side_px / 32)), dtype=np.float32)
    return np.where(soft < soft.mean((0, 1)), 0, soft).clip(0, 255).astype(np.uint8)


def mixed(split: str, index: int, side_px: int) -> np.ndarray:
    """The three noises in turn."""
    return (gaussian, rademacher, blobs)[index % 3](split, index, side_px)
