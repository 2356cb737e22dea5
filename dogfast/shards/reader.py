"""Read shards as if a stranger had made them: stream, check every member, extract nothing, unpickle nothing."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import simplejpeg
import torch
from imagecodecs import png_decode
from PIL import Image

from dogfast.config.synthesis import LATENT
from dogfast.data.resize import WHOLE
from dogfast.errors import DataError
from dogfast.run import read_json
from dogfast.shards.format import NPY, Facts, Sample, record_name, tar_name
from dogfast.store import Place
from dogfast.text import is_utf8

MEMBER = re.compile(r"([0-9A-Za-z_-]{1,64})\.(png|jpg|npy|json)")
BLOCK = tarfile.BLOCKSIZE
PLAIN_HEADER = re.compile(
    rb"([0-9A-Za-z_-]{1,64}\.(?:png|jpg|npy|json))\0+[0-7 ]{7}\0[0-7 ]{7}\0[0-7 ]{7}\0([0-7]{11})\0"
    rb"[0-7]{11}\0([0-7]{6})\0 0\0{100}ustar.{83}\0{155}\0{12}",
    re.DOTALL,
)
"""What `TarWriter` writes before a member: name, size, checksum. `tarfile`, which is much slower, parses every other."""
CHECKSUM = slice(148, 156)
"""Counts as spaces in the sum of a header's bytes."""
RECORDS_AT_ONCE = 16
"""At a store, a record is two requests that wait for the network."""
MAX_SHARD_BYTES = 4 * 2**30
MAX_MEMBER_BYTES = 32 * 2**20
MAX_PIXELS = 16_000_000
JPEG_START = b"\xff\xd8"
PNG_NEXT_CHUNK = slice(37, 41)
"""The name of the chunk after a PNG's header."""
FIELDS = {name: {"int": int, "float": float, "str": str}[kind] for name, kind in Facts.__annotations__.items()}
RECORD_FIELDS = {"shard": int, "tar": str, "samples": int, "bytes": int, "sha256": str}


def sources_at(store: Place) -> list[str]:
    """The sources at ``store`` that hold committed shards."""
    return sorted(place.name for place in store.glob("*") if has_shards(place))


def has_shards(folder: Place) -> bool:
    """Whether ``folder`` holds at least one committed shard."""
    return bool(record_paths(folder))


def record_paths(folder: Place) -> list[Place]:
    """The records of committed shards, by number."""
    return sorted((folder / "records").glob("[0-9]*.json"), key=lambda path: path.name)


def read_records(folder: Place) -> list[dict[str, Any]]:
    """The records of committed shards, by number. :class:`DataError` names a record that is not one, or whose tar is gone."""
    with ThreadPoolExecutor(RECORDS_AT_ONCE) as pool:
        return list(pool.map(lambda path: check_record(path, read_json(path)), record_paths(folder)))


def count_samples(folder: Place) -> int:
    """How many samples the committed shards hold."""
    return sum(record["samples"] for record in read_records(folder))


def check_record(path: Place, record: Any) -> dict[str, Any]:
    """``record`` as it was read from ``path``; :class:`DataError` when it is not one, or its tar is gone."""
    if not _is_record(path, record):
        raise DataError(f"{path} is not a shard record; `dogfast shards repair` paints that shard anew")
    if record["tar"] != tar_name(record["shard"]) or not (path.parent.parent / record["tar"]).is_file():
        raise DataError(f"{path} names {record['tar']!r}, which is missing; `dogfast shards repair` paints it anew")
    return record


def read_shard(path: Place, sha256: str | None = None) -> Iterator[Sample]:
    """Every sample of a tar in order. With ``sha256`` the file must match it.

    Raises :class:`DataError` naming the shard and member for anything but pairs of a small regular image or latent and its facts.
    """
    content = _content(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} is damaged: its SHA-256 is not the recorded one; `dogfast shards repair` paints it anew")
    pending: dict[str, dict[str, bytes]] = {}
    seen: set[tuple[str, str]] = set()
    for key, suffix, body in _members(path, content):
        if (key, suffix) in seen:
            raise DataError(f"{path}: {key}.{suffix} stands twice")
        seen.add((key, suffix))
        parts = pending.setdefault(key, {})
        parts[suffix] = body
        if len(parts) == 2:
            yield _sample(path, key, pending.pop(key))
    if pending:
        raise DataError(f"{path}: sample {next(iter(pending))!r} lacks its image (or latent) or its json")


def decode_image(path: Place, sample: Sample) -> np.ndarray:
    """uint8 (H, W, 3); :class:`DataError` names what is no image or not of its stated size."""
    if sample.suffix == NPY:
        raise _no_images(path)
    size = sample.facts["width"], sample.facts["height"]
    try:
        with suppress(ValueError, RuntimeError):  # what is damaged or unusual, Pillow judges
            return (_decode_jpeg if sample.content.startswith(JPEG_START) else _decode_png)(sample.content, size)
        image = Image.open(io.BytesIO(sample.content), formats=("PNG", "JPEG"))
        _check_size(image.size, size)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception as error:
        raise DataError(f"{path}: the image of sample {sample.key!r} is not readable ({error})") from error


def _decode_jpeg(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """As Pillow decodes it, in three quarters of the time, and without the interpreter's lock; ValueError for what is not as usual."""
    height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
    _check_size((width, height), size)
    if colours not in ("YCbCr", "Gray"):
        raise ValueError(f"{colours} colours")
    return simplejpeg.decode_jpeg(content, "RGB")


def _decode_png(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """As Pillow decodes it, in a third of the time, and without the interpreter's lock.

    Raises ValueError before anything is decoded where the image is not of ``size``, in RGB and 8 bits, without extras;
    RuntimeError for damage.
    """
    width, height = size
    if width * height > MAX_PIXELS or content[PNG_NEXT_CHUNK] != b"IDAT":
        raise ValueError("larger than images may be, or with chunks before its pixels")
    return png_decode(content, out=np.empty((height, width, 3), np.uint8))


def _check_size(found: tuple[int, int], stated: tuple[int, int]) -> None:
    if math.prod(found) > MAX_PIXELS or found != stated:
        raise ValueError(f"{found[0]} x {found[1]} pixels")


def decode_outlier(path: Place, sample: Sample, side_px: int) -> np.ndarray:
    """`decode_image`, brought to ``side_px``: uint8 (side, side, 3)."""
    image = decode_image(path, sample)
    return image if image.shape[:2] == (side_px, side_px) else np.array(WHOLE.squared(Image.fromarray(image), side_px))


def holds_latents(folder: Place) -> bool:
    """Whether the shards of ``folder`` hold latents, by the first record; one that cannot be read is for others to tell of."""
    record = _first_record(folder)
    return record is not None and record.get("kind") == LATENT


def require_images(folder: Place) -> None:
    """Raise :class:`DataError` where ``folder`` holds latents."""
    if holds_latents(folder):
        raise _no_images(folder)


def require_latents(folder: Place) -> None:
    """Raise :class:`DataError` where ``folder`` holds images."""
    record = _first_record(folder)
    if record is not None and record.get("kind") != LATENT:
        raise not_latents(folder)


def _first_record(folder: Place) -> dict[str, Any] | None:
    with suppress(DataError):
        record = next((read_json(path) for path in record_paths(folder)), None)
        return record if isinstance(record, dict) else None
    return None


def not_latents(place: object) -> DataError:
    """What to say of ``place``, where latents were wanted."""
    return DataError(f"{place} holds images, no latents; paint some with `dogfast generate --output-kind latent`")


def _no_images(place: Place) -> DataError:
    return DataError(f"{place} holds latents, which only the objective `oal` will learn from; name a source of images")


def chosen_samples(
    folder: Place, records: list[dict[str, Any]], belongs: Callable[[dict[str, Any]], bool]
) -> Iterator[tuple[Place, Sample]]:
    """The samples of the shards of ``records`` whose facts ``belongs`` accepts, each with its tar; raises what `read_shard` does."""
    for record in records:
        path = folder / record["tar"]
        for sample in read_shard(path, record["sha256"]):
            if belongs(sample.facts):
                yield path, sample


class Outliers:
    """Outliers in memory: images uint8 (n, 3, H, W), and per image its class, anchor word and key."""

    def __init__(self, images: torch.Tensor, facts: list[dict[str, Any]]):
        self.images, self.facts = images, facts

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(fact["key"] for fact in self.facts)


def load_outliers(folder: Place, side_px: int, belongs: Callable[[dict[str, Any]], bool] = lambda facts: True) -> Outliers:
    """The committed outliers of ``folder`` whose facts ``belongs`` accepts, brought to ``side_px``; others are not decoded.

    :class:`DataError` when the folder holds none at all.
    """
    records = read_records(folder)
    if not sum(record["samples"] for record in records):
        raise DataError(f"{folder} holds no committed outliers; run `dogfast generate` first")
    return decode_chosen(folder, records, side_px, belongs)


def decode_chosen(
    folder: Place, records: list[dict[str, Any]], side_px: int, belongs: Callable[[dict[str, Any]], bool]
) -> Outliers:
    """The outliers in the shards of ``records`` whose facts ``belongs`` accepts, perhaps none."""
    images, facts = [], []
    for path, sample in chosen_samples(folder, records, belongs):
        images.append(decode_outlier(path, sample, side_px))
        facts.append(sample.facts)
    pixels = np.stack(images) if images else np.empty((0, side_px, side_px, 3), np.uint8)
    return Outliers(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), facts)


def _is_record(path: Place, record: Any) -> bool:
    if not isinstance(record, dict) or any(type(record.get(name)) is not kind for name, kind in RECORD_FIELDS.items()):
        return False
    return record_name(record["shard"]) == path.name and record["samples"] >= 0


def _content(path: Place) -> bytes:
    try:
        if path.stat().st_size > MAX_SHARD_BYTES:
            raise DataError(f"{path} is larger than {MAX_SHARD_BYTES >> 30} GiB; shards of dogfast are not")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def _members(path: Place, content: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Key, suffix and body of every member.

    Each header is parsed alone, so that no link, extension or sparse map ever acts, and the archive must end as tars do:
    `tarfile` itself takes a torn header for the end.
    """
    at = 0
    while any(content[at : at + BLOCK]):
        name, is_file, size = _header(path, content[at : at + BLOCK])
        match = MEMBER.fullmatch(name)
        if match is None or not is_file:
            raise DataError(f"{path}: unexpected member {name!r}; only KEY.png, KEY.jpg, KEY.npy and KEY.json belong there")
        if not 0 <= size <= MAX_MEMBER_BYTES:
            raise DataError(f"{path}: {name} is larger than {MAX_MEMBER_BYTES >> 20} MiB")
        body = content[at + BLOCK : at + BLOCK + size]
        if len(body) != size:
            raise DataError(f"{path}: {name} is cut short")
        yield match[1], match[2], body
        at += BLOCK + -(-size // BLOCK) * BLOCK
    rest = len(content) - at
    if rest < 2 * BLOCK or content.count(b"\0", at) != rest:
        raise DataError(f"{path} is cut short or damaged: it does not end as a tar does")


def _header(path: Place, block: bytes) -> tuple[str, bool, int]:
    """A member's name, whether it is a regular file, and its size."""
    plain = PLAIN_HEADER.fullmatch(block)
    if plain and int(plain[3], 8) == sum(block) - sum(block[CHECKSUM]) + len(block[CHECKSUM]) * ord(" "):
        return plain[1].decode(), True, int(plain[2], 8)
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError) as error:
        raise DataError(f"{path} is not a readable tar ({error})") from error
    return member.name, member.type in (tarfile.REGTYPE, tarfile.AREGTYPE), member.size


def _sample(path: Place, key: str, parts: dict[str, bytes]) -> Sample:
    suffix = next((s for s in parts if s != "json"), None)
    if suffix is None or "json" not in parts:
        raise DataError(f"{path}: sample {key!r} is not one image or latent and one json")
    try:
        facts = json.loads(parts["json"])
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {key}.json is not JSON") from error
    if not isinstance(facts, dict):
        raise DataError(f"{path}: {key}.json is not an object")
    wrong = [name for name, kind in FIELDS.items() if not _is_proper(facts.get(name), kind)]
    if wrong or facts["key"] != key:
        raise DataError(f"{path}: {key}.json has no proper {wrong[0] if wrong else 'key'}")
    return Sample(facts, parts[suffix], suffix)


def _is_proper(value: Any, kind: type) -> bool:
    """Of the very type, a float finite, a text that can be written as UTF-8."""
    if type(value) is not kind:
        return False
    return math.isfinite(value) if kind is float else is_utf8(value) if kind is str else True
