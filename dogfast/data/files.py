"""Image files of a user: a folder of class folders, or a tar of the same. Nothing is extracted; names are only data."""

from __future__ import annotations

import hashlib
import io
import tarfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from dogfast.data.images import ImageSet
from dogfast.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
NAMED_IN_ERRORS = 5


def read_class_folders(path: Path, image_px: int, per_class: int = 0) -> ImageSet:
    """Every image of ``path`` (a folder of class folders or a tar of the same), squared to ``image_px``.

    Classes are sorted by folder name; ``per_class`` keeps at most so many of each, drawn by hash (0 = all).
    Raises :class:`DataError` for a missing path, class folders without images, unreadable images, duplicate names.
    """
    keys = [key for key in list_images(path) if len(PurePosixPath(key).parts) >= 2]
    if not keys:
        raise DataError(f"{path} holds no images in class folders; expected CLASS/IMAGE with {', '.join(sorted(SUFFIXES))}")
    folders = sorted({_class_folder(key) for key in keys})
    class_names = _class_names(folders, path)
    _refuse_empty_folders(path, set(folders))
    label_of = {folder: label for label, folder in enumerate(folders)}
    by_class = [_drawn([k for k in keys if _class_folder(k) == folder], per_class) for folder in folders]
    kept = sorted(key for drawn in by_class for key in drawn)
    labels = torch.tensor([label_of[_class_folder(key)] for key in kept])
    return ImageSet(_decoded(path, kept, image_px), labels, tuple(kept), class_names)


def read_loose_images(path: Path, image_px: int, limit: int = 0) -> ImageSet:
    """Every image below ``path`` whatever its folder, without labels; at most ``limit``, drawn by hash (0 = all)."""
    keys = sorted(_drawn(list_images(path), limit))
    if not keys:
        raise DataError(f"{path} holds no images ({', '.join(sorted(SUFFIXES))})")
    return ImageSet(_decoded(path, keys, image_px), torch.full((len(keys),), -1), tuple(keys), ())


def first_image_bytes(path: Path) -> bytes:
    """The encoded bytes of the first image below ``path``, to read the set's codec from."""
    return next(_encoded(path, list_images(path)[:1]))[1]


def refuse_single_images(images: ImageSet, path: str) -> None:
    """Raise :class:`DataError` naming classes with fewer than two images: none could be kept for validation."""
    counts = torch.bincount(images.labels, minlength=len(images.class_names))
    poor = [name for name, n in zip(images.class_names, counts.tolist()) if n < 2]
    if poor:
        raise DataError(f"{path}: classes with fewer than two images: {_some(poor)}; add images or remove the class")


# --- listing ----------------------------------------------------------------------------------------------------
def list_images(path: Path) -> list[str]:
    """Relative names of the image files below a folder or inside a tar, sorted; hidden files are skipped."""
    if path.is_dir():
        names = [p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()]
    elif path.is_file():
        with _open_tar(path) as tar:
            names = [member.name for member in tar if member.isreg()]
    else:
        raise DataError(f"{path} does not exist; name a folder of class folders or a tar of the same")
    return sorted(name for name in names if _is_image_name(name))


def _open_tar(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path} is neither a folder nor a readable, uncompressed tar ({error})") from error


def _is_image_name(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in parts)


def _class_folder(key: str) -> str:
    return PurePosixPath(key).parts[-2]


def _drawn(keys: list[str], limit: int) -> list[str]:
    if limit == 0 or len(keys) <= limit:
        return keys
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:limit]


def _class_names(folders: list[str], path: Path) -> tuple[str, ...]:
    names = [" ".join(folder.replace("_", " ").split()) for folder in folders]
    first: dict[str, str] = {}
    for folder, name in zip(folders, names):
        twin = first.setdefault(name.casefold(), folder)
        if twin != folder:
            raise DataError(f"{path}: the class folders {twin!r} and {folder!r} name the same class; rename or merge one")
    return tuple(names)


def _refuse_empty_folders(path: Path, filled: set[str]) -> None:
    if path.is_dir():
        empty = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in filled)
        if empty:
            raise DataError(f"{path}: class folders without images: {_some(empty)}; add images or remove the folder")


# --- decoding ---------------------------------------------------------------------------------------------------
def _encoded(path: Path, keys: list[str]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for key in keys:
            yield key, (path / key).read_bytes()
        return
    wanted = set(keys)
    try:
        with _open_tar(path) as tar:
            for member in tar:
                if member.isreg() and member.name in wanted:
                    if member.size > MAX_FILE_BYTES:
                        raise DataError(f"{path}: {member.name} is larger than {MAX_FILE_BYTES >> 20} MiB")
                    file = tar.extractfile(member)
                    assert file is not None, "a regular member has content"
                    yield member.name, file.read()
    except tarfile.TarError as error:
        raise DataError(f"{path} is damaged ({error})") from error


def _decoded(path: Path, keys: list[str], image_px: int) -> torch.Tensor:
    row_of = {key: row for row, key in enumerate(keys)}
    images = torch.empty((len(keys), 3, image_px, image_px), dtype=torch.uint8)
    unreadable = []

    def place(item: tuple[str, bytes]) -> None:
        key, encoded = item
        try:
            images[row_of[key]] = torch.from_numpy(decode_square(encoded, image_px)).permute(2, 0, 1)
        except ValueError as error:
            unreadable.append(f"{key} ({error})")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(place, _encoded(path, keys)))
    if unreadable:
        raise DataError(f"{path}: {len(unreadable)} unreadable images: {_some(sorted(unreadable))}; replace or remove them")
    return images


def decode_square(encoded: bytes, side_px: int) -> np.ndarray:
    """Decode, shrink the short side to ``side_px`` (antialiased bicubic) and cut the centre: uint8 (side, side, 3).

    Raises ValueError with the reason when the bytes are no image, or one of more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded))
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        return np.array(squared(image.convert("RGB"), side_px))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"no image: {type(error).__name__}") from error


def squared(image: Image.Image, side_px: int) -> Image.Image:
    """Shrink the short side to ``side_px`` (antialiased bicubic) and cut the centre; unchanged where it fits already."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    box = (left, top, left + short, top + short)
    if short == side_px:
        return image.crop(box)
    return image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)


def _some(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:NAMED_IN_ERRORS]))
    return shown + (f" and {len(names) - NAMED_IN_ERRORS} more" if len(names) > NAMED_IN_ERRORS else "")
