"""Mild damage to images whose class stays plain: blur, noise, JPEG. A detector that refuses these refuses the weather.

Severities are those of an 8-bit image as it is stored, whatever its side. They end where the corruptions of Hendrycks and
Dietterich (ICLR 2019) begin on CIFAR (blur 0.4, noise 0.04, quality 80; on ImageNet 1, 0.08 and 25), for blur one step beyond.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from dogfast.data.codec import Codec, pass_through
from dogfast.data.images import ImageSet
from dogfast.data.noises import keyed_generator


def gaussian_blur(image: np.ndarray, key: str, sigma: float) -> np.ndarray:
    """uint8 (H, W, 3) under a Gaussian of ``sigma`` pixels, edges repeated."""
    return _to_bytes(gaussian_filter(image.astype(np.float32), (sigma, sigma, 0), mode="nearest"))


def gaussian_noise(image: np.ndarray, key: str, sigma: float) -> np.ndarray:
    """uint8 (H, W, 3) plus independent noise of standard deviation ``sigma`` in [0, 1]; a function of ``key``."""
    noise = keyed_generator(f"gaussian-noise-{sigma:g}", key, 0).normal(0, 255 * sigma, image.shape)
    return _to_bytes(image + noise)


def jpeg(image: np.ndarray, key: str, quality: float) -> np.ndarray:
    """uint8 (H, W, 3) coded once as JPEG of Pillow's ``quality``, 4:2:0."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality), subsampling=2)
    return np.array(Image.open(buffer))


def unharmed(image: np.ndarray, key: str, severity: float) -> np.ndarray:
    return image


CORRUPTIONS: dict[str, tuple[Callable[[np.ndarray, str, float], np.ndarray], tuple[float, ...]]] = {
    "none": (unharmed, (0.0,)),
    "gaussian-blur": (gaussian_blur, (0.4, 0.6)),
    "gaussian-noise": (gaussian_noise, (0.02, 0.04)),
    "jpeg": (jpeg, (90.0, 80.0)),
}
"""By name the corruption, of an image uint8 (H, W, 3) with its key, and its severities from mild to less so."""
SEVERITIES = tuple((name, severity) for name, (_, severities) in CORRUPTIONS.items() for severity in severities)


def corrupted(images: ImageSet, name: str, severity: float, codec: Codec) -> torch.Tensor:
    """``images`` under a corruption of :data:`CORRUPTIONS`, then through the ID codec as all images that are no ID files."""
    damage, _ = CORRUPTIONS[name]
    damaged = pass_through(lambda image, key: damage(image, key, severity), images.images, images.keys)
    return pass_through(codec, damaged, tuple(f"{name}-{severity:g}/{key}" for key in images.keys))


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return image.round().clip(0, 255).astype(np.uint8)
