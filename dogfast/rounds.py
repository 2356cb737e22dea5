"""A round of `refine` on disk: `plan.json`, what it learns from, and `outcome.json`, what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogfast.errors import DataError
from dogfast.run import Run, has_fields, publish, read_json, to_json
from dogfast.shards.format import shard_of, tar_name

PLAN_FILE = "plan.json"
OUTCOME_FILE = "outcome.json"
Outcome = dict[str, Any]
NUMBER = int | float
FIELDS = {name: int for name in ("round", "images", "new", "shards")} | {
    **{name: NUMBER for name in ("fooled", "like_id", "accepted", "seconds")},
    **{"classifier": str, "conditions": list, "dropped": list, "bounds": dict, "validation": dict},
}
OF_VALIDATION = {"fpr95": NUMBER, "accuracy": NUMBER}
COUNTS = ("condition", "cls", "images", "accepted", "like_id", "new", "fooled", "fooled_in_all")
OF_CONDITION = dict.fromkeys(COUNTS, int) | {"class_name": str, "anchor": str, "distance": NUMBER}
OF_DROPPED = {"condition": int, "class_name": str, "anchor": str, "round": int, "reason": str}
"""What is read of an outcome, of its validation, of each of its conditions, and of each that was dropped."""


# --- what it learns from --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Round:
    """``shards``: how many of the source's first there were; ``dropped``: rows of conditions that train no more."""

    shards: int
    dropped: frozenset[int]

    def tars(self) -> list[str]:
        return [tar_name(number) for number in range(self.shards)]

    def holds(self, facts: dict[str, Any]) -> bool:
        """Whether an outlier of the source, by its ``facts``, belongs to what the round learns from."""
        return shard_of(facts["key"]) < self.shards and facts["condition"] not in self.dropped


def read_round(run: Run, source: str, number: int) -> Round:
    """Round ``number`` as it was planned. Raises :class:`DataError` where it is not, or its file is none."""
    path = plan_file(run, source, number)
    if not path.exists():
        raise DataError(f"round {number} of {source!r} is not planned in {run.root}; `dogfast refine` does it round by round")
    found = read_plan(path)
    return Round(found["shards"], frozenset(row["condition"] for row in found["dropped"]))


def read_plan(path: Path) -> dict[str, Any]:
    """What a round learns from. Raises :class:`DataError` for a file that is no such plan."""
    found = read_json(path)
    if not _is_plan(found):
        raise DataError(f"{path} is no plan of a round; remove it and run `dogfast refine` again")
    return found


def _is_plan(found: Any) -> bool:
    if not has_fields(found, {"shards": int, "dropped": list}) or found["shards"] < 0:
        return False
    return all(has_fields(row, OF_DROPPED) and row["condition"] >= 0 for row in found["dropped"])


def write_plan(path: Path, plan: dict[str, Any]) -> None:
    publish(path, to_json(plan))


def plan_file(run: Run, source: str, number: int) -> Path:
    return run.round(source, number) / PLAN_FILE


# --- what came of it ------------------------------------------------------------------------------------------------
def read_outcome(run: Run, source: str, number: int) -> Outcome | None:
    """What came of a round; None where it is not over. Raises :class:`DataError` for a file that `write_outcome` did not write."""
    path = _outcome_file(run, source, number)
    if not path.exists():
        return None
    found = read_json(path)
    if not _is_outcome(found) or found["round"] != number:
        raise DataError(f"{path} is no outcome of round {number}; remove it and run `dogfast refine` again")
    return found


def _is_outcome(found: Any) -> bool:
    if not has_fields(found, FIELDS) or not has_fields(found["validation"], OF_VALIDATION):
        return False
    rows = all(has_fields(row, OF_CONDITION) and all(row[name] >= 0 for name in COUNTS) for row in found["conditions"])
    return (
        rows
        and all(has_fields(row, OF_DROPPED) for row in found["dropped"])
        and has_fields(found["bounds"], {row["class_name"]: NUMBER for row in found["conditions"]})
    )


def write_outcome(run: Run, source: str, number: int, outcome: Outcome) -> None:
    publish(_outcome_file(run, source, number), to_json(outcome))


def _outcome_file(run: Run, source: str, number: int) -> Path:
    return run.round(source, number) / OUTCOME_FILE
