"""Which outlier is painted from which condition, in which shard: immutable segments, a pure function of counts.

A segment says how many images of each condition are added. Items run index-major: every class's first image, then every
class's second, so that an interrupted set is balanced. A class takes its conditions in turn. Raising ``m`` appends a
segment, and so does a round of `refine`; no segment is ever changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dogfast.errors import DataError
from dogfast.run import publish, read_json, to_json
from dogfast.shards.format import MAX_SAMPLES, MAX_SHARDS

MAX_IMAGES = 50_000_000
"""Of one source: painting order takes some hundred bytes an image."""


@dataclass(frozen=True)
class Item:
    """One outlier to paint: its place, its condition's row, and its number among that condition's images."""

    shard: int
    position: int
    condition: int
    index: int


@dataclass(frozen=True, eq=False)
class Shard:
    """One shard of the plan: the condition and the index of each of its items, (n,)."""

    number: int
    conditions: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.conditions)

    def items(self) -> list[Item]:
        pairs = zip(self.conditions.tolist(), self.indices.tolist())
        return [Item(self.number, position, condition, index) for position, (condition, index) in enumerate(pairs)]


@dataclass(frozen=True)
class Segment:
    """``counts[condition] = (first index, how many)``; its shards are numbered from ``first_shard`` on."""

    first_shard: int
    samples_per_shard: int
    counts: dict[int, tuple[int, int]]

    @property
    def images(self) -> int:
        return sum(count for _, count in self.counts.values())

    @property
    def shards(self) -> int:
        return -(-self.images // self.samples_per_shard)


def spread(class_of: list[int], total: int, planned: Counter[int]) -> dict[int, tuple[int, int]]:
    """What every class lacks of ``total`` images, dealt in turn to those of its conditions that have the fewest.

    ``class_of[condition]`` is the class of each condition, ``planned`` how many images it has.
    """
    more: dict[int, int] = {}
    for cls in sorted(set(class_of)):
        rows = [row for row, owner in enumerate(class_of) if owner == cls]
        lacking = total - sum(planned[row] for row in rows)
        more |= _levelled({row: planned[row] for row in rows}, max(0, lacking))
    return going_on(more, planned)


def _levelled(counts: dict[int, int], more: int) -> dict[int, int]:
    """How many of ``more`` each row gets when one after the other goes to the row that has the fewest, the first of equals."""
    rows = sorted(counts, key=lambda row: (counts[row], row))
    filled = [counts[row] for row in rows]
    held = 0
    for few in range(1, len(rows) + 1):
        held += filled[few - 1]
        if few == len(rows) or held + more <= few * filled[few]:
            break
    level, rest = divmod(held + more, few)
    return {row: level - counts[row] + (turn < rest) for turn, row in enumerate(sorted(rows[:few]))}


def going_on(more: Mapping[int, int], planned: Counter[int]) -> dict[int, tuple[int, int]]:
    """The counts of a segment that gives every condition ``more`` images than are ``planned``."""
    return {row: (planned[row], count) for row, count in more.items() if count}


def planned_a_condition(segments: list[Segment]) -> Counter[int]:
    return Counter({row: first + count for segment in segments for row, (first, count) in segment.counts.items()})


def planned_a_class(segments: list[Segment], class_of: list[int]) -> int:
    """Images that are planned of every class that has a condition."""
    return sum(segment.images for segment in segments) // len(set(class_of))


def shards_of(segments: list[Segment], class_of: list[int]) -> dict[int, Shard]:
    """Every planned shard by its number, in painting order; a million items take a second and some megabytes."""
    found = {}
    for segment in segments:
        conditions, indices = _in_order(segment, np.asarray(class_of))
        size = segment.samples_per_shard
        for offset in range(segment.shards):
            part = slice(offset * size, (offset + 1) * size)
            number = segment.first_shard + offset
            found[number] = Shard(number, conditions[part], indices[part])
    return found


def _in_order(segment: Segment, class_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Condition and index of every item of ``segment`` in painting order, int32 (n,)."""
    rows, firsts, counts = np.array([(row, *span) for row, span in segment.counts.items()], dtype=np.int32).T
    ends = np.cumsum(counts)
    turn = np.repeat(np.arange(len(rows), dtype=np.int32), counts)
    round_ = np.arange(ends[-1], dtype=np.int32) - np.repeat(ends - counts, counts).astype(np.int32)
    owner = class_of[rows][turn]
    within = np.lexsort((turn, round_, owner))  # class by class, its conditions in turn
    owner = owner[within]
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    order = within[np.lexsort((owner, place))]  # every class's first, every class's second, …
    return rows[turn[order]], (firsts[turn] + round_)[order]


def fits(segments: list[Segment]) -> bool:
    """Whether keys and memory reach for so many images and shards."""
    images, shards = sum(segment.images for segment in segments), sum(segment.shards for segment in segments)
    return images <= MAX_IMAGES and shards <= MAX_SHARDS


# --- on disk ----------------------------------------------------------------------------------------------------
def read_segments(folder: Path) -> list[Segment]:
    """The segments of a source, in order; :class:`DataError` names a file that is missing, not one, or does not go on where the one before ended."""
    segments: list[Segment] = []
    painted: dict[int, int] = {}
    for number in range(len(list(folder.glob("[0-9]*.json")))):
        path = folder / f"{number:03d}.json"
        segment = _parsed(path, read_json(path))
        goes_on = all(first == painted.get(row, 0) for row, (first, _) in segment.counts.items())
        if segment.first_shard != sum(before.shards for before in segments) or not goes_on:
            raise _broken(path)
        painted |= {row: first + count for row, (first, count) in segment.counts.items()}
        segments.append(segment)
        if not fits(segments):
            raise _broken(path)
    return segments


def append_segment(folder: Path, segment: Segment) -> None:
    number = len(list(folder.glob("[0-9]*.json")))
    counts = [[row, first, count] for row, (first, count) in sorted(segment.counts.items())]
    body = {"first_shard": segment.first_shard, "samples_per_shard": segment.samples_per_shard, "counts": counts}
    publish(folder / f"{number:03d}.json", to_json(body))


def _parsed(path: Path, body: Any) -> Segment:
    try:
        counts = {_whole(row, 0): (_whole(first, 0), _whole(count, 1)) for row, first, count in body["counts"]}
        segment = Segment(_whole(body["first_shard"], 0), _whole(body["samples_per_shard"], 1, MAX_SAMPLES), counts)
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path) from error
    if not counts or len(counts) != len(body["counts"]):
        raise _broken(path)
    return segment


def _whole(value: Any, least: int, most: float = float("inf")) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(value)
    return value


def _broken(path: Path) -> DataError:
    return DataError(f"{path} is not a segment of this plan; remove the run's plan/, outliers/ and rounds/ to start it anew")
