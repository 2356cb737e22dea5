"""Image files of a user: a folder of class folders, or a tar of the same. Nothing is extracted; names are only data."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import unicodedata
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import psutil
import torch
from PIL import Image

from dogfast.data.class_sets import name_of_folder
from dogfast.data.images import ImageSet
from dogfast.errors import DataError
from dogfast.text import is_utf8

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""What may be decoded, whatever a file is called; Pillow would hand a disguised EPS to Ghostscript."""
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 50_000_000
NAMED_IN_ERRORS = 5
TAR_FAULTS = (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError)
"""What broken and hostile headers make `tarfile` raise."""
DECODED_TOGETHER = 64
"""Encoded images held in memory at once."""


def read_class_folders(
    path: Path, image_px: int, per_class: int = 0, by_folder: dict[str, list[str]] | None = None
) -> ImageSet:
    """Every image of ``path`` (a folder of class folders or a tar of the same), squared to ``image_px``.

    Classes are sorted by folder name, or stand as in ``by_folder``, what `list_class_folders` gave; a folder named by a
    WNID gets that synset's name. ``per_class`` keeps at most so many of each, drawn by hash (0 = all).
    Raises :class:`DataError` for a missing path, class folders without images, unreadable images, duplicate names.
    """
    by_folder = list_class_folders(path) if by_folder is None else by_folder
    names = class_names(list(by_folder), path)
    label_of = {key: label for label, keys in enumerate(by_folder.values()) for key in _drawn(keys, per_class)}
    kept = sorted(label_of)
    labels = torch.tensor([label_of[key] for key in kept])
    return ImageSet(_decoded(path, kept, image_px), labels, tuple(kept), names)


def read_loose_images(path: Path, image_px: int, limit: int = 0) -> ImageSet:
    """Every image below ``path`` whatever its folder, without labels; at most ``limit``, drawn by hash (0 = all)."""
    keys = sorted(_drawn(list_images(path), limit))
    if not keys:
        raise DataError(f"{path} holds no images ({', '.join(sorted(SUFFIXES))})")
    return ImageSet(_decoded(path, keys, image_px), torch.full((len(keys),), -1), tuple(keys), ())


def first_image_bytes(path: Path, keys: tuple[str, ...] = ()) -> bytes:
    """The encoded bytes of the first of ``keys`` (else of all images below ``path``), to read the set's codec from."""
    first = list(keys or list_images(path))[:1]
    if not first:
        raise DataError(f"{path} holds no images ({', '.join(sorted(SUFFIXES))})")
    return next(_encoded(path, first))[1]


def refuse_single_images(images: ImageSet, path: str, least: int = 2) -> None:
    """Raise :class:`DataError` naming classes with fewer than ``least`` images: none could be kept for every split."""
    counts = torch.bincount(images.labels, minlength=len(images.class_names))
    poor = [name for name, n in zip(images.class_names, counts.tolist()) if n < least]
    if poor:
        number = {2: "two", 3: "three"}.get(least, str(least))
        raise DataError(f"{path}: classes with fewer than {number} images: {some(poor)}; add images or remove the class")


# --- listing ----------------------------------------------------------------------------------------------------
def list_class_folders(path: Path) -> dict[str, list[str]]:
    """Names of the images in class folders, by folder, both sorted; :class:`DataError` when there are none."""
    by_folder: dict[str, list[str]] = {}
    for key in list_images(path):
        parts = PurePosixPath(key).parts
        if len(parts) >= 2:
            by_folder.setdefault(parts[-2], []).append(key)
    if not by_folder:
        raise DataError(f"{path} holds no images in class folders; expected CLASS/IMAGE with {', '.join(sorted(SUFFIXES))}")
    _refuse_empty_folders(path, set(by_folder))
    return dict(sorted(by_folder.items()))


def list_images(path: Path) -> list[str]:
    """Relative names of the image files below a folder or inside a tar, sorted; hidden files are skipped.

    In a tar only regular files below its root count: no links, no absolute names, no ``..``.
    """
    if path.is_dir():
        keys = sorted(filter(_is_image_name, _files_below(path)))
        _refuse_bad_names(keys, path)
    elif path.is_file():
        keys = [file.key for file in _files_inside(path)]
    else:
        raise DataError(f"{path} does not exist; name a folder of class folders or a tar of the same")
    return keys


@dataclass(frozen=True)
class ImageFile:
    """An image file by its relative name: its size, and where it begins in the tar that holds it."""

    key: str
    bytes: int
    offset: int = 0


def list_image_files(path: Path) -> list[ImageFile]:
    """What `list_images` names, with sizes."""
    if path.is_file():
        return _files_inside(path)
    return [ImageFile(key, (path / key).stat().st_size) for key in list_images(path)]


def read_image_files(path: Path, files: list[ImageFile]) -> Iterator[tuple[str, bytes]]:
    """Name and content of ``files``, which `list_image_files` found at ``path``; of a tar no other part is read."""
    if path.is_dir():
        yield from _encoded(path, [file.key for file in files])
        return
    try:
        with open(path, "rb") as tar:
            for file in files:
                _refuse_large(file.bytes, path, file.key)
                tar.seek(file.offset)
                yield file.key, tar.read(file.bytes)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); mend it") from error


def _files_inside(path: Path) -> list[ImageFile]:
    """The images of a tar by name; a sparse one is refused, for its bytes are not its content."""
    found = []
    with _open_tar(path) as tar:
        for member in tar:
            if member.isreg() and _is_image_name(key := _key(member)):
                if member.issparse():
                    raise tarfile.ReadError(f"{key} is a sparse file")
                found.append(ImageFile(key, member.size, member.offset_data))
        _refuse_broken_end(tar)
    found.sort(key=lambda file: file.key)
    _refuse_bad_names([file.key for file in found], path)
    return found


def _files_below(root: Path) -> Iterator[str]:
    """Relative names of all files below ``root``; linked folders are entered, each real folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        folders.sort()
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (file.relative_to(root).as_posix() for name in files if (file := Path(folder, name)).is_file())


@contextmanager
def _open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        tar = tarfile.open(path, "r:")
    except TAR_FAULTS as error:
        raise DataError(f"{path} is neither a folder nor a readable, uncompressed tar ({error})") from error
    with tar:
        try:
            yield tar
        except TAR_FAULTS as error:
            raise DataError(f"{path} is damaged ({error}); copy or pack it again") from error


def _refuse_broken_end(tar: tarfile.TarFile) -> None:
    """Raise where the listing ended at something else than the end: `tarfile` takes a broken header for it."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {tar.offset}")


def _key(member: tarfile.TarInfo) -> str:
    """A member's name as a folder would give it: `./cat/1.png` is `cat/1.png`."""
    return str(PurePosixPath(member.name))


def _is_image_name(name: str) -> bool:
    pure = PurePosixPath(name)
    return pure.suffix.lower() in SUFFIXES and not pure.is_absolute() and not any(p.startswith(".") for p in pure.parts)


def _refuse_bad_names(keys: list[str], path: Path) -> None:
    """Names become keys of splits and records: each must be text and stand once."""
    undecodable = [key for key in keys if not is_utf8(key)]
    if undecodable:
        raise DataError(f"{path}: file names that are not UTF-8: {some(list(map(ascii, undecodable)))}; rename the files")
    twice = sorted({a for a, b in pairwise(keys) if a == b})
    if twice:
        raise DataError(f"{path}: the same name twice: {some(twice)}; pack the tar again")


def _drawn(keys: list[str], limit: int) -> list[str]:
    if limit == 0 or len(keys) <= limit:
        return keys
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:limit]


def class_names(folders: list[str], path: Path) -> tuple[str, ...]:
    """What class folders are called; :class:`DataError` where one gives no name, or two the same."""
    names = [" ".join(unicodedata.normalize("NFC", name_of_folder(f)).replace("_", " ").split()) for f in folders]
    if "" in names:
        raise DataError(f"{path}: the class folder {folders[names.index('')]!r} gives no class name; rename it")
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
            raise DataError(f"{path}: class folders without images: {some(empty)}; add images or remove the folder")


# --- decoding ---------------------------------------------------------------------------------------------------
def _encoded(path: Path, keys: list[str]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        for key in keys:
            try:
                _refuse_large((path / key).stat().st_size, path, key)
                encoded = (path / key).read_bytes()
            except OSError as error:
                raise DataError(f"{path / key} cannot be read ({error.strerror}); mend or remove it") from error
            yield key, encoded
        return
    wanted = set(keys)
    with _open_tar(path) as tar:
        for member in tar:
            if member.isreg() and _key(member) in wanted:
                _refuse_large(member.size, path, member.name)
                file = tar.extractfile(member)
                assert file is not None, "a regular member has content"
                yield _key(member), file.read()


def _refuse_large(size_bytes: int, path: Path, key: str) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise DataError(f"{path}: {key} is larger than {MAX_FILE_BYTES >> 20} MiB; replace or remove it")


def _decoded(path: Path, keys: list[str], image_px: int) -> torch.Tensor:
    row_of = {key: row for row, key in enumerate(keys)}
    _refuse_too_many(path, len(keys), image_px)
    images = torch.empty((len(keys), 3, image_px, image_px), dtype=torch.uint8)
    unreadable = []

    def place(item: tuple[str, bytes]) -> None:
        key, encoded = item
        try:
            images[row_of[key]] = torch.from_numpy(decode_square(encoded, image_px)).permute(2, 0, 1)
        except ValueError as error:
            unreadable.append(f"{key} ({error})")

    encoded = _encoded(path, keys)
    with ThreadPoolExecutor(2) as pool:
        while together := list(islice(encoded, DECODED_TOGETHER)):
            list(pool.map(place, together))
    if unreadable:
        raise DataError(f"{path}: {len(unreadable)} unreadable images: {some(sorted(unreadable))}; replace or remove them")
    return images


def _refuse_too_many(path: Path, count: int, image_px: int) -> None:
    """Images are held in memory: said before the machine is brought to its knees."""
    needed, free = count * 3 * image_px**2, psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{path}: {count:,} images of {image_px} px need {needed / 2**30:.0f} GiB of memory, {free / 2**30:.0f} are free; "
            "choose fewer with --id-images, or a smaller --image-px"
        )


def decode_square(encoded: bytes, side_px: int) -> np.ndarray:
    """Decode, shrink the short side to ``side_px`` (antialiased bicubic) and cut the centre: uint8 (side, side, 3).

    Raises ValueError with the reason when the bytes are no image, or one of more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        return np.array(squared(_eight_bit(image).convert("RGB"), side_px))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"no image: {type(error).__name__}") from error


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit grey image with its range mapped to 8 bits, where Pillow would clip it at 255; others unchanged."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def squared(image: Image.Image, side_px: int) -> Image.Image:
    """Shrink the short side to ``side_px`` (antialiased bicubic) and cut the centre; unchanged where it fits already."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    box = (left, top, left + short, top + short)
    if short == side_px:
        return image.crop(box)
    return image.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)


def some(names: list[str]) -> str:
    """The first of ``names`` for an error message, and how many more there are."""
    shown = ", ".join(map(repr, names[:NAMED_IN_ERRORS]))
    return shown + (f" and {len(names) - NAMED_IN_ERRORS} more" if len(names) > NAMED_IN_ERRORS else "")
