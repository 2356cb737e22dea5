"""Is every committed shard what its record says? Everything is read, decoded and hashed; nothing is changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dogfast.config.synthesis import LATENT
from dogfast.errors import DataError
from dogfast.run import read_json
from dogfast.shards.format import sample_key
from dogfast.shards.latents import decode_latent
from dogfast.shards.reader import check_record, decode_image, read_shard, record_paths
from dogfast.store import Place


@dataclass(frozen=True)
class Fault:
    """What is wrong with the shard of ``record``; ``pixel_sha256`` is the recorded one, "" where that cannot be read."""

    record: Place
    reason: str
    pixel_sha256: str

    @property
    def tar(self) -> Place:
        return self.record.parent.parent / f"train-{self.record.stem}.tar"


def verify(folder: Place) -> Iterator[Fault | None]:
    """For every record of ``folder``, by number, its fault or None."""
    for path in record_paths(folder):
        pixels = ""
        try:
            record = read_json(path)
            pixels = record.get("pixel_sha256", "") if isinstance(record, dict) else ""
            check_record(path, record)
            _verify_shard(folder / record["tar"], record)
        except DataError as error:
            yield Fault(path, str(error), pixels)
        else:
            yield None


def _verify_shard(path: Place, record: dict[str, Any]) -> None:
    decode = decode_latent if record.get("kind") == LATENT else decode_image
    pixels, count, lossless = hashlib.sha256(), 0, True
    for sample in read_shard(path, record["sha256"]):
        if sample.key[:5] != sample_key(record["shard"], 0)[:5]:
            raise DataError(f"{path}: sample {sample.key!r} belongs to another shard")
        pixels.update(decode(path, sample).tobytes())
        lossless &= sample.suffix != "jpg"
        count += 1
    if count != record["samples"]:
        raise DataError(f"{path} holds {count} samples, its record says {record['samples']}")
    if path.stat().st_size != record["bytes"]:
        raise DataError(f"{path} has {path.stat().st_size} bytes, its record says {record['bytes']}")
    if lossless and pixels.hexdigest() != record.get("pixel_sha256"):
        raise DataError(f"{path}: the pixels are not those that were painted")
