"""Image files of a user: a folder of class folders, or a tar of the same. Nothing is extracted; names are only data."""

from __future__ import annotations

import io
import os
import tarfile
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from dogfast.data.class_sets import name_of_folder
from dogfast.data.images import ImageSet
from dogfast.data.resize import WHOLE, Resize
from dogfast.errors import DataError
from dogfast.text import is_utf8

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""What may be decoded, whatever a file is called; Pillow would hand a disguised EPS to Ghostscript."""
MAX_FILE_BYTES = 64 * 2**20
MAX_SMALL_BYTES = 2**20
MAX_PIXELS = 50_000_000
NAMED_IN_ERRORS = 5
TAR_FAULTS = (tarfile.TarError, OSError, ValueError, OverflowError, RecursionError)
"""What broken and hostile headers make `tarfile` raise."""


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
    keys = list_images(path)
    by_folder = grouped(keys, _annotations(path))
    if not by_folder:
        raise DataError(f"{path} holds no images in class folders; expected CLASS/IMAGE with {', '.join(SUFFIXES)}")
    _refuse_empty_folders(path, {key.partition("/")[0] for key in keys})
    return by_folder


def grouped(keys: list[str], annotated: dict[str, str]) -> dict[str, list[str]]:
    """``keys`` by their class folder, sorted by it; a file named in ``annotated`` is of the class told there.

    Tiny ImageNet, as it is published, has a folder `images` in each class folder, and one for its whole validation part.
    """
    by_folder: dict[str, list[str]] = {}
    for key in keys:
        *folders, name = key.split("/")
        inner = len(folders) >= 2 and folders[-1] == "images"
        folder = annotated.get(name) or (folders[-2 if inner else -1] if folders else "")
        if folder:
            by_folder.setdefault(folder, []).append(key)
    return dict(sorted(by_folder.items()))


def _annotations(path: Path) -> dict[str, str]:
    """The class of every file of Tiny ImageNet's validation part, from the table beside it; empty elsewhere."""
    table = path / "val_annotations.txt"
    if not table.is_file():
        return {}
    _refuse_large(table.stat().st_size, path, table.name)
    rows = (line.split("\t") for line in table.read_text(encoding="utf-8", errors="replace").splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}


def list_images(path: Path) -> list[str]:
    """Relative names of the image files below a folder or inside a tar, sorted; hidden files are skipped.

    In a tar only regular files below its root count: no links, no absolute names, no ``..``.
    """
    if path.is_dir():
        keys = sorted(filter(is_image_name, files_below(path)))
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
    for file in files:
        _refuse_large(file.bytes, path, file.key)
    if path.is_dir():
        for file in files:
            yield file.key, _content(path / file.key)
        return
    try:
        with open(path, "rb") as tar:
            for file in sorted(files, key=lambda file: file.offset):
                tar.seek(file.offset)
                yield file.key, tar.read(file.bytes)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); mend it") from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); mend or remove it") from error


def _files_inside(path: Path) -> list[ImageFile]:
    """The images of a tar by name; a sparse one is refused, for its bytes are not its content."""
    found = []
    with _open_tar(path) as tar:
        for member in tar:
            if member.isreg() and is_image_name(key := key_in_tar(member)):
                if member.issparse():
                    raise tarfile.ReadError(f"{key} is a sparse file")
                found.append(ImageFile(key, member.size, member.offset_data))
        refuse_broken_end(tar)
    found.sort(key=lambda file: file.key)
    _refuse_bad_names([file.key for file in found], path)
    return found


def read_small_members(path: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Name and content of what else stands in a tar and is called so: regular files below its root."""
    with _open_tar(path) as tar:
        for member in tar:
            if member.isreg() and member.name.endswith(suffixes) and is_plain_name(key := key_in_tar(member)):
                if member.size > MAX_SMALL_BYTES:
                    raise DataError(f"{path}: {key} is larger than {MAX_SMALL_BYTES >> 20} MiB; pack the tar without it")
                file = tar.extractfile(member)
                assert file is not None, "a regular member has content"
                yield key, file.read()


def files_below(root: Path) -> Iterator[str]:
    """Relative names of all files below ``root``, folder by folder; linked folders are entered, each real folder once.

    Raises :class:`DataError` for what may not be looked into.
    """
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_refuse_hidden):
        folders.sort()
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (file.relative_to(root).as_posix() for name in sorted(files) if _is_file(file := Path(folder, name)))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        _refuse_hidden(error)
        return False


def _refuse_hidden(error: OSError) -> None:
    """What is gone holds nothing; what is there has to be seen."""
    if not isinstance(error, FileNotFoundError):
        raise DataError(
            f"{error.filename} cannot be read ({error.strerror}); allow it, or take it out of the folder"
        ) from error


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


def refuse_broken_end(tar: tarfile.TarFile) -> None:
    """Raise where the listing ended at something else than the end: `tarfile` takes a broken header for it."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"no header at byte {tar.offset}")


# Plain strings, as `pathlib` takes longer over a million names than the disk does.
def key_in_tar(member: tarfile.TarInfo) -> str:
    """A member's name as a folder would give it: `./cat/1.png` is `cat/1.png`."""
    name = member.name
    odd = "//" in name or "./" in name or name.endswith(("/", "."))
    return str(PurePosixPath(name)) if odd else name


def is_image_name(key: str) -> bool:
    return key.lower().endswith(SUFFIXES) and is_plain_name(key)


def is_plain_name(key: str) -> bool:
    """Whether it is below a root and nothing of it is hidden."""
    return not key.startswith(("/", ".")) and "/." not in key


def _refuse_bad_names(keys: list[str], path: Path) -> None:
    """Names become keys of splits and records: each must be text and stand once."""
    undecodable = [key for key in keys if not is_utf8(key)]
    if undecodable:
        raise DataError(f"{path}: file names that are not UTF-8: {some(list(map(ascii, undecodable)))}; rename the files")
    twice = sorted({a for a, b in pairwise(keys) if a == b})
    if twice:
        raise DataError(f"{path}: the same name twice: {some(twice)}; pack the tar again")


def class_names(folders: list[str], path: object) -> tuple[str, ...]:
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
    """``filled``: what stands first in the names of images."""
    if path.is_dir():
        empty = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in filled)
        if empty:
            raise DataError(f"{path}: class folders without images: {some(empty)}; add images or remove the folder")


def _refuse_large(size_bytes: int, path: Path, key: str) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise DataError(f"{path}: {key} is larger than {MAX_FILE_BYTES >> 20} MiB; replace or remove it")


# --- decoding ---------------------------------------------------------------------------------------------------
def decode_square(encoded: bytes, side_px: int, resize: Resize = WHOLE) -> np.ndarray:
    """Decode, and bring to ``side_px`` as ``resize`` says: uint8 (side, side, 3).

    Raises ValueError with the reason when the bytes are no image, or one of more than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        return square_pixels(image, side_px, resize)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"no image: {type(error).__name__}") from error


def square_pixels(image: Image.Image, side_px: int, resize: Resize = WHOLE) -> np.ndarray:
    """`decode_square` of an image that is open already; raises what Pillow does."""
    return np.array(resize.squared(_eight_bit(image).convert("RGB"), side_px))


def _eight_bit(image: Image.Image) -> Image.Image:
    """A 16-bit grey image with its range mapped to 8 bits, where Pillow would clip it at 255; others unchanged."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def some(names: list[str]) -> str:
    """The first of ``names`` for an error message, and how many more there are."""
    shown = ", ".join(map(repr, names[:NAMED_IN_ERRORS]))
    return shown + (f" and {len(names) - NAMED_IN_ERRORS} more" if len(names) > NAMED_IN_ERRORS else "")
