"""MNIST, CIFAR and SVHN as their authors publish them: pixels without an image format."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dogfast.data.pictures import Pictures, called
from dogfast.errors import DataError
from dogfast.text import first_line

MAX_BYTES, MAX_IMAGES = 2**30, 1_000_000
"""In a file. MNIST has 60,000 of 47 MB, SVHN 73,257 of 225 MB."""
SIDE_PX = 32
PIXELS = 3 * SIDE_PX**2


def open_idx(paths: tuple[Path, ...]) -> Pictures:
    """MNIST's images (LeCun et al. 1998): grey, with a header of magic number, count, height and width, perhaps in gzip."""
    return _pictures({path: _idx(path) for path in paths})


def open_cifar(paths: tuple[Path, ...]) -> Pictures:
    """CIFAR's binary version (Krizhevsky 2009): rows of the class's number (CIFAR-100: the coarse one first) and 3 × 32 × 32 bytes."""
    labels, pixels = {}, {}
    for path in paths:
        numbers = 2 if path.name in ("train.bin", "test.bin") else 1
        rows = _rows(path, numbers + PIXELS)
        labels[path], pixels[path] = (
            rows[:, numbers - 1],
            rows[:, numbers:].reshape(-1, 3, SIDE_PX, SIDE_PX).transpose(0, 2, 3, 1),
        )
    return _pictures(pixels, labels)


def open_svhn(paths: tuple[Path, ...]) -> Pictures:
    """SVHN's cropped digits (Netzer et al. 2011): MATLAB files of X (32, 32, 3, n) and y."""
    return _pictures({path: _svhn(path) for path in paths})


def _pictures(pixels: dict[Path, np.ndarray], labels: dict[Path, np.ndarray] | None = None) -> Pictures:
    """Pictures out of ``pixels`` (n, H, W) or (n, H, W, 3) of every file, called FILE/ROW; classes by number."""
    place, names = called(tuple(pixels))
    row_of = {f"{names[path]}/{row}": (path, row) for path, images in pixels.items() for row in range(len(images))}

    def read(keys: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        for key in keys:
            path, row = row_of[key]
            yield key, np.ascontiguousarray(pixels[path][row])

    def by_class() -> dict[str, list[str]]:
        if labels is None:
            raise DataError(f"{place} is read as an OOD set only; give its images in class folders to learn them")
        found: dict[str, list[str]] = {}
        for key, (path, row) in row_of.items():
            found.setdefault(str(labels[path][row]), []).append(key)
        return found

    return Pictures(place, list(row_of), by_class, read)


def _idx(path: Path) -> np.ndarray:
    """uint8 (n, H, W)."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            magic, *shape = struct.unpack(">4I", file.read(16))
            wanted = math.prod(shape)
            if magic != 0x803 or not wanted or wanted > MAX_BYTES or shape[0] > MAX_IMAGES:
                raise ValueError(f"its header says {magic:#x}, {shape}")
            content = file.read(wanted + 1)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise _damaged(path, "file of images in MNIST's idx format", error) from error
    if len(content) != wanted:
        raise _damaged(
            path, "file of images in MNIST's idx format", ValueError(f"{len(content):,} of {wanted:,} bytes of pixels")
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _rows(path: Path, width: int) -> np.ndarray:
    """uint8 (n, width), of which only what is looked at is read."""
    size = path.stat().st_size
    if not size or size % width or size > MAX_BYTES:
        raise _damaged(path, "file of CIFAR's binary version", ValueError(f"{size:,} bytes are no rows of {width:,}"))
    try:
        return np.memmap(path, np.uint8, "r", shape=(size // width, width))
    except OSError as error:
        raise _damaged(path, "file of CIFAR's binary version", error) from error


def _svhn(path: Path) -> np.ndarray:
    """uint8 (n, 32, 32, 3). The file's directory is looked at before anything is read, and only X is."""
    from scipy.io import loadmat, whosmat

    try:
        kinds = {name: (shape, kind) for name, shape, kind in whosmat(path)}
        shape, kind = kinds.get("X", ((), "missing"))
        if kind != "uint8" or len(shape) != 4 or shape[:3] != (SIDE_PX, SIDE_PX, 3) or not 0 < math.prod(shape) <= MAX_BYTES:
            raise ValueError(f"its X is {kind} {shape}, not uint8 (32, 32, 3, n)")
        pixels = loadmat(path, variable_names=["X"])["X"]
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise ValueError("its X is not what its directory says")
    except Exception as error:  # what scipy raises for damaged files has no common base
        raise _damaged(path, "MATLAB file of SVHN's cropped digits", error) from error
    return pixels.transpose(3, 0, 1, 2)


def _damaged(path: Path, kind: str, error: Exception) -> DataError:
    return DataError(f"{path} is no readable {kind} ({first_line(error).rstrip('.')}); download it again")
