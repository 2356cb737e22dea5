"""What each round of `refine` learns from: the first shards of a source, without the conditions that were dropped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogfast.errors import DataError
from dogfast.run import Run, read_json
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
    return _parsed(path, read_json(path))


def plan_file(run: Run, source: str, number: int) -> Path:
    return run.round(source, number) / PLAN_FILE


def _parsed(path: Path, found: Any) -> Round:
    try:
        shards, dropped = found["shards"], [row["condition"] for row in found["dropped"]]
    except (KeyError, TypeError) as error:
        raise _broken(path) from error
    if any(type(number) is not int or number < 0 for number in (shards, *dropped)):
        raise _broken(path)
    return Round(shards, frozenset(dropped))


def _broken(path: Path) -> DataError:
    return DataError(f"{path} is no plan of a round; remove {path.parent} and run `dogfast refine` again")
