"""Images at a place: named at once, read when they are wanted, brought to one size."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image

from dogfast.data.codec import LOSSLESS, Codec, decode_through
from dogfast.data.files import class_names, list_class_folders, list_image_files, read_image_files, some
from dogfast.data.images import ImageSet
from dogfast.data.resize import WHOLE, Resize
from dogfast.errors import DataError

Content = bytes | np.ndarray
"""An encoded image, or pixels uint8 (H, W, 3) or (H, W)."""
DECODED_TOGETHER = 64
"""Encoded images held in memory at once."""


@dataclass(frozen=True)
class Pictures:
    """``place``: what messages call it. ``keys``: one a picture, each once. ``by_class``: the keys of every class, in label order.

    ``read`` gives some of the keys, in any order, with what they hold. ``by_class`` and ``read`` raise :class:`DataError`.
    """

    place: str
    keys: list[str]
    by_class: Callable[[], dict[str, list[str]]]
    read: Callable[[list[str]], Iterator[tuple[str, Content]]]


def image_files(path: Path) -> Pictures:
    """The image files of a folder or an uncompressed tar; their classes are their folders."""
    files = {file.key: file for file in list_image_files(path)}
    return Pictures(
        str(path),
        list(files),
        lambda: list_class_folders(path),
        lambda keys: read_image_files(path, [files[key] for key in keys]),
    )


def labelled(
    pictures: Pictures,
    image_px: int,
    per_class: int = 0,
    by_class: dict[str, list[str]] | None = None,
    resize: Resize = WHOLE,
) -> ImageSet:
    """Every picture of every class, squared to ``image_px``; at most ``per_class`` of each, drawn by hash (0 = all).

    Classes stand as in ``by_class``, which is what ``pictures`` has unless given; a class called by a WNID gets that
    synset's name. Raises :class:`DataError` for unreadable images and for names that two classes share.
    """
    by_class = pictures.by_class() if by_class is None else by_class
    names = class_names(list(by_class), pictures.place)
    label_of = {key: label for label, keys in enumerate(by_class.values()) for key in _drawn(keys, per_class)}
    kept = sorted(label_of)
    labels = torch.tensor([label_of[key] for key in kept])
    images = _decoded(pictures, kept, image_px, lambda content, key: _coded(content, key, image_px, resize, LOSSLESS))
    return ImageSet(images, labels, tuple(kept), names)


def unlabelled(
    pictures: Pictures, image_px: int, limit: int = 0, resize: Resize = WHOLE, codec: Codec = LOSSLESS, name: str = ""
) -> ImageSet:
    """Every picture whatever its class, without labels; at most ``limit``, drawn by hash (0 = all), once through ``codec``.

    ``name`` stands before a picture's key where the codec wants to know which it is.
    """
    keys = sorted(_drawn(pictures.keys, limit))
    if not keys:
        raise DataError(f"{pictures.place} holds no images")
    images = _decoded(pictures, keys, image_px, lambda content, key: _coded(content, f"{name}/{key}", image_px, resize, codec))
    return ImageSet(images, torch.full((len(keys),), -1), tuple(keys), ())


def called(paths: tuple[Path, ...]) -> tuple[str, dict[Path, str]]:
    """The folder of ``paths``, or the one file that they are, for messages; and a name of each, below that folder."""
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    place = paths[0] if len(paths) == 1 else folder
    return str(place), {path: path.relative_to(folder).as_posix() for path in paths}


def first_content(pictures: Pictures, keys: tuple[str, ...]) -> Content:
    """What the first of ``keys`` holds, to read the set's codec from."""
    return next(iter(pictures.read(list(keys[:1]))))[1]


def _drawn(keys: list[str], limit: int) -> list[str]:
    if limit == 0 or len(keys) <= limit:
        return keys
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:limit]


def _decoded(pictures: Pictures, keys: list[str], image_px: int, square: Callable[[Content, str], np.ndarray]) -> torch.Tensor:
    row_of = {key: row for row, key in enumerate(keys)}
    _refuse_too_many(pictures.place, len(keys), image_px)
    images = torch.empty((len(keys), 3, image_px, image_px), dtype=torch.uint8)
    unreadable, read = [], 0

    def place(item: tuple[str, Content]) -> None:
        key, content = item
        try:
            images[row_of[key]] = torch.from_numpy(square(content, key)).permute(2, 0, 1)
        except ValueError as error:
            unreadable.append(f"{key} ({error})")

    contents = iter(pictures.read(keys))
    with ThreadPoolExecutor(2) as pool:
        while together := list(islice(contents, DECODED_TOGETHER)):
            list(pool.map(place, together))
            read += len(together)
    if read != len(keys):
        raise DataError(f"{pictures.place} holds {read:,} of {len(keys):,} images that it lists; copy or pack it again")
    if unreadable:
        raise DataError(
            f"{pictures.place}: {len(unreadable)} unreadable images: {some(sorted(unreadable))}; replace or remove them"
        )
    return images


def _coded(content: Content, key: str, image_px: int, resize: Resize, codec: Codec) -> np.ndarray:
    if isinstance(content, bytes):
        return decode_through(codec, content, key, image_px, resize)
    return codec(np.array(resize.squared(Image.fromarray(content).convert("RGB"), image_px)), key)


def _refuse_too_many(place: str, count: int, image_px: int) -> None:
    """Images are held in memory: said before the machine is brought to its knees."""
    needed, free = count * 3 * image_px**2, psutil.virtual_memory().available
    if needed > free:
        raise DataError(
            f"{place}: {count:,} images of {image_px} px need {needed / 2**30:.0f} GiB of memory, {free / 2**30:.0f} are free; "
            "choose fewer with --id-images or --ood-images, or a smaller --image-px"
        )
