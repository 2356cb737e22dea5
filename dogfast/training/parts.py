"""Where streamed outliers come from: committed shards, or image files, some at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dogfast.data.codec import Codec, decode_through
from dogfast.data.files import ImageFile, read_image_files
from dogfast.data.splits import may_train
from dogfast.errors import DataError
from dogfast.run import read_json
from dogfast.shards.format import ID_CONTROL, Sample
from dogfast.shards.reader import check_record, decode_outlier, read_shard, record_paths
from dogfast.store import Place
from dogfast.training.streamed import Part

Belongs = Callable[[dict[str, Any]], bool]
Wait = Callable[[str], None]
"""Told what is missing; returns when it is time to look again, or raises."""

KEPT_FACTS = ("key", "strategy", "width", "height")
"""What is needed of a sample that was chosen."""
FILES_A_PART = 256


def give_up(missing: str) -> None:
    """Nobody paints what is missing."""
    raise DataError(missing)


class Shards:
    """The committed shards at ``place()``, of them what ``belongs`` accepts by its facts. Raises DataError for ID-class images.

    ``agreed`` lets several processes see the same shards; with a ``wait`` that returns, those are taken in that are committed
    in the meantime.
    """

    def __init__(
        self,
        place: Callable[[], Place],
        side_px: int,
        codec: Codec,
        wait: Wait = give_up,
        agreed: Callable[[Callable[[], Any]], Any] = lambda found: found(),
        belongs: Belongs = may_train,
    ):
        self.place, self.side_px, self.codec, self.belongs = place, side_px, codec, belongs
        self.wait, self.agreed = wait, agreed
        self.records: dict[str, dict[str, Any]] = {}
        """Those that were seen, by the names of their tars."""

    def listed(self, beyond: int) -> list[Part]:
        if self.wait is not give_up or not self.records:
            self.records |= self.agreed(lambda: self._new_records(beyond))
        elif len(self.records) <= beyond:
            self.wait(self._missing(beyond))
        one = 3 * self.side_px**2
        return [Part(name, max(record["bytes"], one * record["samples"])) for name, record in sorted(self.records.items())]

    def _new_records(self, beyond: int) -> dict[str, dict[str, Any]]:
        """Committed since the last call; waits for as many as make ``beyond`` and one."""
        found: dict[str, dict[str, Any]] = {}
        while True:
            folder = self.place()
            for path in record_paths(folder):
                if f"train-{path.stem}.tar" not in self.records.keys() | found.keys():
                    record = check_record(path, read_json(path))
                    found[record["tar"]] = record
            if len(self.records) + len(found) > beyond:
                return found
            self.wait(self._missing(beyond))

    def _missing(self, beyond: int) -> str:
        if beyond:
            return f"{self.place()}: every outlier is of a validation word; raise --m or widen the anchors"
        return f"{self.place()} holds no committed outliers; run `dogfast generate` first"

    def read(self, name: str) -> list[tuple[Place, Sample]]:
        path, record, chosen, count = self.place() / name, self.records[name], [], 0
        for sample in read_shard(path, record["sha256"]):
            count += 1
            if sample.facts["strategy"] == ID_CONTROL:
                raise DataError(f"{path} holds images of the ID classes, no outliers; mix them in with --id-synthetic")
            if self.belongs(sample.facts):
                facts = {name: sample.facts[name] for name in KEPT_FACTS}
                chosen.append((path, Sample(facts, sample.content, sample.suffix)))
        if count != record["samples"]:
            raise DataError(
                f"{path} holds {count} samples, its record says {record['samples']}; `dogfast shards repair` paints it anew"
            )
        return chosen

    def decode(self, sample: tuple[Place, Sample]) -> np.ndarray:
        path, sample = sample
        return self.codec(decode_outlier(path, sample, self.side_px), f"{sample.facts['strategy']}/{sample.key}")


class ImageFiles:
    """The image files of a folder or tar, once through the ID codec under ``name``."""

    def __init__(self, path: Path, files: list[ImageFile], name: str, side_px: int, codec: Codec):
        self.path, self.name, self.side_px, self.codec = path, name, side_px, codec
        self.slices = {str(first): files[first : first + FILES_A_PART] for first in range(0, len(files), FILES_A_PART)}

    def listed(self, beyond: int) -> list[Part]:
        one = 3 * self.side_px**2
        return [Part(name, sum(max(file.bytes, one) for file in files)) for name, files in self.slices.items()]

    def read(self, name: str) -> list[tuple[str, bytes]]:
        return list(read_image_files(self.path, self.slices[name]))

    def decode(self, sample: tuple[str, bytes]) -> np.ndarray:
        key, encoded = sample
        try:
            return decode_through(self.codec, encoded, f"{self.name}/{key}", self.side_px)
        except ValueError as error:
            raise DataError(f"{self.path}: unreadable image {key!r} ({error}); replace or remove it") from error
