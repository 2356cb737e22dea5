"""Images to be judged, one after the other, wherever they lie: however many there are, few are held at a time."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dogfast.data.codec import Codec, codec_of, codec_of_image
from dogfast.data.files import (
    MAX_FILE_BYTES,
    TAR_FAULTS,
    decode_square,
    files_below,
    is_image_name,
    key_in_tar,
    refuse_broken_end,
    square_pixels,
)
from dogfast.data.resize import Resize
from dogfast.errors import DataError, DogfastError
from dogfast.run import read_json
from dogfast.shards.format import NPY
from dogfast.shards.reader import check_record, read_shard, record_paths
from dogfast.store import Place, open_place

TAR = ".tar"


@dataclass(frozen=True)
class Input:
    """An image by its name, and its encoded bytes; or what cannot be read, and why."""

    name: str
    content: bytes = b""
    fault: str = ""


@dataclass(frozen=True)
class Preparation:
    """How an image of any size becomes what the ID images of a classifier are: ``side_px``, ``resize``, ``codec``."""

    side_px: int
    resize: Resize
    codec: Codec

    def of_file(self, content: bytes) -> np.ndarray:
        """uint8 (side, side, 3) of an image file; ValueError says why it is none.

        What comes in the ID set's codec is as an ID image is; everything else passes through it once.
        """
        pixels = decode_square(content, self.side_px, self.resize)
        return self._coded(pixels, codec_of(content, self.side_px))

    def of_picture(self, image: Image.Image) -> np.ndarray:
        """The same of an image as Pillow opened it."""
        own = codec_of_image(image, self.side_px)
        return self._coded(square_pixels(image, self.side_px, self.resize), own)

    def __str__(self) -> str:
        return f"{self.resize.says(self.side_px)}; then the codec of the ID images, unless it is in that already: {self.codec}"

    def _coded(self, pixels: np.ndarray, own: Codec) -> np.ndarray:
        """Noise of a codec goes by the pixels, so that an image is judged alike wherever it lies."""
        return pixels if own == self.codec else self.codec(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())


def read_inputs(places: Iterable[str]) -> Iterator[Input]:
    """Every image at ``places``: files, folders, uncompressed tars, and folders or URLs of shards; a folder's tars are opened.

    Folders go by name. Nothing is raised for what cannot be read: it comes as an `Input` with its fault.
    """
    for where in places:
        try:
            yield from _at(open_place(where, "IMAGES"), where)
        except DogfastError as error:
            yield Input(where, fault=str(error))


def _at(place: Place, where: str) -> Iterator[Input]:
    if records := record_paths(place):
        yield from _of_shards(place, records)
    elif not isinstance(place, Path):
        yield Input(where, fault="it holds no shards")
    elif place.is_dir():
        yield from _of_folder(place)
    else:
        yield from _of_file(place)


def _of_folder(folder: Path) -> Iterator[Input]:
    found = False
    for key in files_below(folder):
        if is_image_name(f"{key}.png" if key.endswith(TAR) else key):
            found = True
            yield from _of_file(folder / key)
    if not found:
        yield Input(str(folder), fault="it holds no images and no tars")


def _of_file(path: Path) -> Iterator[Input]:
    if not path.is_file():
        yield Input(str(path), fault="it is no file" if path.exists() else "it does not exist")
        return
    if path.suffix == TAR:
        yield from _of_tar(path)
        return
    try:
        large = path.stat().st_size > MAX_FILE_BYTES
        yield Input(str(path), fault=_too_large()) if large else Input(str(path), path.read_bytes())
    except OSError as error:
        yield Input(str(path), fault=f"it cannot be read ({error.strerror})")


def _of_tar(path: Path) -> Iterator[Input]:
    """The images of a tar as they stand in it; `tarfile` would remember every member."""
    found = False
    try:
        with tarfile.open(path, "r:") as tar:
            while member := tar.next():
                tar.members.clear()
                if member.isreg() and is_image_name(key_in_tar(member)):
                    found = True
                    yield _of_member(path, tar, member)
            refuse_broken_end(tar)
            if not found:
                yield Input(str(path), fault="it holds no images")
    except TAR_FAULTS as error:
        yield Input(str(path), fault=f"it is no whole, uncompressed tar ({error})")


def _of_member(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Input:
    name = f"{path}/{member.name}"
    if member.issparse():
        return Input(name, fault="it is a sparse file")
    if member.size > MAX_FILE_BYTES:
        return Input(name, fault=_too_large())
    file = tar.extractfile(member)
    assert file is not None, "a regular member has content"
    return Input(name, file.read())


def _of_shards(folder: Place, records: list[Place]) -> Iterator[Input]:
    for path in records:
        try:
            record = check_record(path, read_json(path))
            for sample in read_shard(folder / record["tar"], record["sha256"]):
                if sample.suffix == NPY:
                    raise DataError(f"{folder} holds latents, no images")
                yield Input(f"{folder}/{record['tar']}/{sample.key}.{sample.suffix}", sample.content)
        except DogfastError as error:
            yield Input(f"{folder}/{path.name}", fault=str(error))


def _too_large() -> str:
    return f"it is larger than {MAX_FILE_BYTES >> 20} MiB"
