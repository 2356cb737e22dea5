"""Round after round: what `refine` painted, dropped and brought, and which anchors rose."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogfast.errors import DataError
from dogfast.reporting.figures import percent
from dogfast.reporting.inputs import number_of, text_of
from dogfast.rounds import read_outcome
from dogfast.run import Run, read_json

SOURCES_AT_MOST = 4
ROUNDS_AT_MOST = 50
RISEN_AT_MOST = 12
DROPPED_AT_MOST = 40
SHARES = ("fooled", "like_id", "accepted", "fpr95", "accuracy")


@dataclass(frozen=True)
class RoundRow:
    """One round; shares are written in percent."""

    number: int
    classifier: str
    images: int
    new: int
    dropped: int
    fooled: str
    like_id: str
    accepted: str
    fpr95: str
    accuracy: str
    chosen: bool


@dataclass(frozen=True)
class Risen:
    """An anchor and how many images of it were new in every round, the last against what an even share would have been."""

    anchor: str
    class_name: str
    new: tuple[int, ...]
    factor: float


@dataclass(frozen=True)
class Dropped:
    anchor: str
    class_name: str
    number: int
    reason: str


@dataclass(frozen=True)
class Refined:
    """The story of one source."""

    source: str
    rounds: tuple[RoundRow, ...]
    risen: tuple[Risen, ...]
    dropped: tuple[Dropped, ...]
    n_dropped: int
    ended: str


def build_refined(run: Run) -> list[Refined]:
    """Every source that was refined. Raises :class:`DataError` for a file that is not as `refine` writes it."""
    found = sorted(run.root.glob("rounds/*/refined.json"))
    return [_story(run, path.parent.name, path) for path in found[:SOURCES_AT_MOST]]


def _story(run: Run, source: str, path: Path) -> Refined:
    told = read_json(path)
    rows = told.get("rounds") if isinstance(told, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} tells of no rounds; remove it and run `dogfast refine` again")
    chosen = int(number_of(told, "chosen", path))
    rounds = tuple(_round(row, chosen, path) for row in rows[:ROUNDS_AT_MOST])
    outcomes = [_outcome(run, source, row.number) for row in rounds]
    dropped = outcomes[-1].dropped if outcomes else ()
    risen = _risen([outcome.new for outcome in outcomes])
    return Refined(source, rounds, risen, dropped[:DROPPED_AT_MOST], len(dropped), text_of(told, "ended", path))


def _round(row: dict[str, Any], chosen: int, path: Path) -> RoundRow:
    number, images, new, dropped = (int(number_of(row, name, path)) for name in ("round", "images", "new", "dropped"))
    shares = {name: percent(number_of(row, name, path)) for name in SHARES}
    return RoundRow(number, text_of(row, "classifier", path), images, new, dropped, **shares, chosen=number == chosen)


@dataclass(frozen=True)
class _Outcome:
    """How many images of every anchor, by class and word, were new in a round, and what was dropped until then."""

    new: dict[tuple[str, str], int]
    dropped: tuple[Dropped, ...]


def _outcome(run: Run, source: str, number: int) -> _Outcome:
    found = read_outcome(run, source, number)
    if found is None:
        raise DataError(f"{run.round(source, number)} has no outcome; run `dogfast refine` again")
    new: Counter[tuple[str, str]] = Counter()
    for row in found["conditions"]:
        new[row["class_name"], row["anchor"]] += row["new"]
    dropped = [Dropped(row["anchor"], row["class_name"], row["round"], row["reason"]) for row in found["dropped"]]
    return _Outcome(dict(new), tuple(dropped))


def _risen(rounds: list[dict[tuple[str, str], int]]) -> tuple[Risen, ...]:
    """The anchors that the last round painted most beyond their even share."""
    last, of_class = rounds[-1] if len(rounds) > 1 else {}, defaultdict(list)
    for (class_name, _), count in last.items():
        of_class[class_name].append(count)
    even = {class_name: sum(counts) / len(counts) for class_name, counts in of_class.items()}
    risen = [
        Risen(
            anchor, class_name, tuple(each.get((class_name, anchor), 0) for each in rounds), round(count / even[class_name], 1)
        )
        for (class_name, anchor), count in last.items()
        if count > even[class_name]
    ]
    return tuple(sorted(risen, key=lambda each: (-each.factor, each.class_name, each.anchor))[:RISEN_AT_MOST])
