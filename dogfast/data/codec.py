"""The ID set's codec, and how every other image passes through it once.

A detector learns what separates ID from outliers by the shortest way, and the traces of a codec are shorter than any
content. So outliers, auxiliary and OOD images go once through the ID files' codec, in training and in evaluation.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from dogfast.data.files import FORMATS, decode_square
from dogfast.data.noises import keyed_generator
from dogfast.data.resize import WHOLE, Resize

Codec = Callable[[np.ndarray, str], np.ndarray]
"""uint8 (H, W, 3) and the image's key, to uint8 (H, W, 3)."""

SENSOR_SIGMA = 3.0
"""Standard deviation of the `shapes` camera's noise, in 8-bit steps."""


@dataclass(frozen=True)
class Sensor:
    """The camera of the `shapes` world: Gaussian noise, a function of the image's key."""

    def __call__(self, image: np.ndarray, key: str) -> np.ndarray:
        noise = keyed_generator("sensor", key, 0).normal(0, SENSOR_SIGMA, image.shape)
        return (image + noise).round().clip(0, 255).astype(np.uint8)

    def __str__(self) -> str:
        return f"sensor noise, sigma {SENSOR_SIGMA:g}/255"


@dataclass(frozen=True)
class Jpeg:
    """JPEG with given quantisation tables (64 values each) and chroma subsampling (Pillow's 0 = 4:4:4, 1 = 4:2:2, 2 = 4:2:0)."""

    tables: tuple[tuple[int, ...], ...]
    subsampling: int

    def __call__(self, image: np.ndarray, key: str) -> np.ndarray:
        buffer = io.BytesIO()
        qtables = {i: list(table) for i, table in enumerate(self.tables)}
        Image.fromarray(image).save(buffer, "JPEG", qtables=qtables, subsampling=self.subsampling)
        return np.array(Image.open(buffer))

    def __str__(self) -> str:
        return f"JPEG, {('4:4:4', '4:2:2', '4:2:0')[self.subsampling]}, first quantiser {self.tables[0][0]}"


@dataclass(frozen=True)
class Lossless:
    """PNG and the like: nothing to imitate."""

    def __call__(self, image: np.ndarray, key: str) -> np.ndarray:
        return image

    def __str__(self) -> str:
        return "lossless"


def codec_of(encoded: bytes, image_px: int) -> Codec:
    """The codec of one encoded image: its JPEG tables and subsampling, else `Lossless`.

    An image that is resized to ``image_px`` counts as lossless: the resize removes the codec's 8-pixel grid.
    """
    return codec_of_image(Image.open(io.BytesIO(encoded), formats=FORMATS), image_px)


def codec_of_image(image: Image.Image, image_px: int) -> Codec:
    """The same of an image as Pillow opened it; one that was made or changed since counts as lossless."""
    from PIL import JpegImagePlugin

    if image.format != "JPEG" or min(image.size) != image_px:
        return Lossless()
    subsampling = max(JpegImagePlugin.get_sampling(image), 0)
    return Jpeg(tuple(tuple(table) for _, table in sorted(image.quantization.items())), subsampling)


LOSSLESS = Lossless()
KINDS = {"lossless": Lossless, "sensor": Sensor, "jpeg": Jpeg}
MOST_TABLES, LARGEST_QUANTISER = 4, 2**16 - 1
"""What a JPEG file can hold."""


def codec_facts(codec: Codec) -> dict[str, Any]:
    """``codec`` in plain JSON types: its kind and its fields."""
    return {"kind": next(kind for kind, made in KINDS.items() if isinstance(codec, made)), **asdict(codec)}


def codec_from(facts: Any) -> Codec:
    """The codec that `codec_facts` told of; ValueError for anything else."""
    match facts:
        case {"kind": "lossless"}:
            return Lossless()
        case {"kind": "sensor"}:
            return Sensor()
        case {"kind": "jpeg", "tables": [_, *_] as tables, "subsampling": 0 | 1 | 2 as subsampling}:
            if len(tables) <= MOST_TABLES and all(map(_is_table, tables)):
                return Jpeg(tuple(map(tuple, tables)), subsampling)
    raise ValueError("it is none of " + ", ".join(KINDS))


def _is_table(table: Any) -> bool:
    return (
        isinstance(table, list | tuple)
        and len(table) == 64
        and all(type(value) is int and 0 < value <= LARGEST_QUANTISER for value in table)
    )


def decode_through(codec: Codec, encoded: bytes, key: str, side_px: int, resize: Resize = WHOLE) -> np.ndarray:
    """`decode_square`, then through ``codec``; an image that is in it already, at that size, has passed."""
    pixels = decode_square(encoded, side_px, resize)
    return pixels if _is_in(codec, encoded, side_px) else codec(pixels, key)


def _is_in(codec: Codec, encoded: bytes, side_px: int) -> bool:
    if not isinstance(codec, Jpeg):
        return False
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
        return image.size == (side_px, side_px) and codec_of_image(image, side_px) == codec


def pass_through(codec: Codec, images: torch.Tensor, keys: tuple[str, ...]) -> torch.Tensor:
    """uint8 (n, 3, H, W) through ``codec``, image by image."""
    assert len(images) == len(keys), "one key an image"
    if isinstance(codec, Lossless):
        return images
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    with ThreadPoolExecutor(2) as pool:
        coded = list(pool.map(codec, pixels, keys))
    return torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2).contiguous()
