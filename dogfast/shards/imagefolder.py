"""Outliers as plain image files in folders of classes and anchors, with the lists of images that OpenOOD reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dogfast.data.splits import is_validation_outlier
from dogfast.errors import DataError, EnvironmentFault
from dogfast.run import publish
from dogfast.shards.format import Sample
from dogfast.shards.reader import read_records, read_shard, require_images
from dogfast.store import Place

TRAIN_LIST, VALIDATION_LIST = "train.txt", "val.txt"
UNKNOWN_LABEL = -1
LONGEST_NAME = 60


def write_image_folder(source: Place, folder: Path, advance: Callable[[int], None] = lambda n: None) -> dict[str, int]:
    """The committed outliers of ``source`` as ``folder/CLASS/ANCHOR/KEY.png`` (or .jpg), bytes as they are in the shards.

    `ImageFolder` and alike read it. `train.txt` and `val.txt` list the images a line, "PATH -1" as OpenOOD's `ImglistDataset`
    has it: validation ones are those that train no classifier of ours. Returns how many stand in each. Raises
    :class:`DataError` for shards that are damaged, or hold latents or nothing.
    """
    require_images(source)
    lists: dict[str, list[str]] = {TRAIN_LIST: [], VALIDATION_LIST: []}
    for sample in _samples(source):
        name = f"{place_of(sample.facts)}/{sample.key}.{sample.suffix}"
        _write(folder / name, sample.content)
        chosen = VALIDATION_LIST if is_validation_outlier(sample.facts) else TRAIN_LIST
        lists[chosen].append(f"{name} {UNKNOWN_LABEL}\n")
        advance(1)
    if not any(lists.values()):
        raise DataError(f"{source} holds no committed outliers; run `dogfast generate` first")
    for name, lines in lists.items():
        publish(folder / name, "".join(lines))
    return {name: len(lines) for name, lines in lists.items()}


def place_of(facts: dict[str, Any]) -> str:
    """CLASS/ANCHOR of an outlier, in letters, digits, - and _ alone: OpenOOD's lists end a path at its first blank.

    The class's number stands first, so that folders sort as labels do and no two classes share one.
    """
    return f"{facts['cls']:04d}-{_plain(facts['class_name'])}/{_plain(facts['anchor'] or facts['strategy'])}"


def _plain(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z-]+", "_", name)[:LONGEST_NAME] or "_"


def _samples(source: Place) -> Iterator[Sample]:
    for record in read_records(source):
        yield from read_shard(source / record["tar"], record["sha256"])


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise EnvironmentFault(f"cannot write {path}: {error.strerror}; free space or choose another --output") from error
