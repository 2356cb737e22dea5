"""What each round of `refine` learns from: the first shards of a source, without the conditions that were dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogfast.errors import DataError
from dogfast.run import Run, has_fields, read_json
from dogfast.shards.format import shard_of, tar_name

PLAN_FILE = "plan.json"


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
    return all(has_fields(row, {"condition": int}) and row["condition"] >= 0 for row in found["dropped"])


def plan_file(run: Run, source: str, number: int) -> Path:
    return run.round(source, number) / PLAN_FILE
