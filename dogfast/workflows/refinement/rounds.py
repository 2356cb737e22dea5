"""A round on disk: `plan.json`, what it adds and leaves out, and `outcome.json`, what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dogfast.data.splits import may_train
from dogfast.errors import DataError
from dogfast.run import Run, has_fields, publish, read_json, to_json
from dogfast.shards.rounds import plan_file, read_plan
from dogfast.synthesis.job import Job
from dogfast.synthesis.plan import (
    Segment,
    append_segment,
    going_on,
    planned_a_condition,
    read_segments,
)
from dogfast.workflows.refinement.looks import why_contaminant
from dogfast.workflows.refinement.posterior import Tried, allot

OUTCOME_FILE = "outcome.json"
Outcome = dict[str, Any]
NUMBER = int | float
FIELDS = {name: int for name in ("round", "images", "new", "shards")} | {
    **{name: NUMBER for name in ("fooled", "like_id", "accepted", "seconds")},
    **{"classifier": str, "conditions": list, "dropped": list, "bounds": dict, "validation": dict},
}
OF_VALIDATION = {"fpr95": NUMBER, "accuracy": NUMBER}
OF_CONDITION = {
    name: int for name in ("condition", "cls", "images", "accepted", "like_id", "new", "fooled", "fooled_in_all")
} | {
    **{"class_name": str, "anchor": str, "distance": NUMBER},
}
OF_DROPPED = {"condition": int, "class_name": str, "anchor": str, "round": int, "reason": str}
"""What is read of an outcome, of its validation, of each of its conditions, and of each that was dropped."""


def read_outcome(run: Run, source: str, number: int) -> Outcome | None:
    """What came of a round; None where it is not over. Raises :class:`DataError` for a file that `write_outcome` did not write."""
    path = _outcome_file(run, source, number)
    if not path.exists():
        return None
    found = read_json(path)
    if not _is_outcome(found):
        raise DataError(
            f"{path} is no outcome of a round; remove {path.parent} and the later rounds, and run `dogfast refine` again"
        )
    return found


def _is_outcome(found: Any) -> bool:
    if not has_fields(found, FIELDS) or not has_fields(found["validation"], OF_VALIDATION):
        return False
    rows = all(has_fields(row, OF_CONDITION) for row in found["conditions"])
    return (
        rows
        and all(has_fields(row, OF_DROPPED) for row in found["dropped"])
        and has_fields(found["bounds"], {row["class_name"]: NUMBER for row in found["conditions"]})
    )


def write_outcome(run: Run, source: str, number: int, outcome: Outcome) -> None:
    publish(_outcome_file(run, source, number), to_json(outcome))


def _outcome_file(run: Run, source: str, number: int) -> Path:
    return run.round(source, number) / OUTCOME_FILE


def plan_round(job: Job, number: int, more: int, before: Outcome | None) -> bool:
    """Write what round ``number`` adds, ``more`` images a class, and leaves out, and append its segment to the plan.

    The first takes what is planned, and what was added to it since. The others go by the outcome ``before``; False, and
    nothing written, where that leaves no condition. What stands of them is not planned again.
    """
    run, source = job.run, job.source
    folder, path = run.plan(source), plan_file(run, source, number)
    if before is None or not path.exists():
        plan = _first_plan(folder) if before is None else _next_plan(job, number, more, before)
        if before is not None and not plan["allotted"]:
            return False
        publish(path, to_json(plan))
    plan, segments = read_plan(path), read_segments(folder)
    if _shards(segments) < plan["shards"]:
        append_segment(folder, _segment(job, segments, dict(plan["allotted"])))
    return True


def _first_plan(folder: Path) -> dict[str, Any]:
    return {"shards": _shards(read_segments(folder)), "allotted": [], "dropped": []}


def _next_plan(job: Job, number: int, more: int, before: Outcome) -> dict[str, Any]:
    dropped = [*before["dropped"], *_contaminants(before, number)]
    out = {row["condition"] for row in dropped}
    tallies = {row["condition"]: row for row in before["conditions"]}
    tried = [
        Tried(row, condition["cls"], *(tallies.get(row, {}).get(name, 0) for name in ("images", "fooled_in_all")))
        for row, condition in enumerate(job.conditions)
        if row not in out and may_train(condition)
    ]
    settings, segments = job.config.synthesis, read_segments(job.run.plan(job.source))
    validating = _validating(job, segments, more)
    left = Counter(dict.fromkeys(job.class_of, more))
    for row, count in validating.items():
        left[job.class_of[row]] -= count
    allotted = allot(tried, left, settings.seed, job.source, number)
    allotted |= validating if allotted else {}
    shards = _shards(segments) + (_segment(job, segments, allotted).shards if allotted else 0)
    return {"shards": shards, "allotted": sorted(allotted.items()), "dropped": dropped}


def _validating(job: Job, segments: Sequence[Segment], more: int) -> dict[int, int]:
    """What the conditions that validate are to have of ``more`` images a class: their even share of all, as in the first round.

    So rounds bring training and validation as many images as the same number painted at once.
    """
    planned, conditions = planned_a_condition(list(segments)), Counter(job.class_of)
    of_class: Counter[int] = Counter()
    for row, count in planned.items():
        of_class[job.class_of[row]] += count
    lacking = {
        row: (of_class[cls] + more) // conditions[cls] - planned[row]
        for row, cls in enumerate(job.class_of)
        if not may_train(job.conditions[row])
    }
    return {row: count for row, count in lacking.items() if count > 0}


def _contaminants(outcome: Outcome, number: int) -> list[dict[str, Any]]:
    """The conditions that round ``number`` drops, and why."""
    found = []
    for row in outcome["conditions"]:
        bound = outcome["bounds"][row["class_name"]]
        if reason := why_contaminant(row["images"], row["like_id"], row["distance"], bound):
            named = {name: row[name] for name in ("condition", "class_name", "anchor")}
            found.append(named | {"round": number, "reason": reason})
    return found


def _segment(job: Job, segments: Sequence[Segment], allotted: dict[int, int]) -> Segment:
    counts = going_on(allotted, planned_a_condition(list(segments)))
    return Segment(_shards(segments), job.config.synthesis.samples_per_shard, counts)


def _shards(segments: Sequence[Segment]) -> int:
    return sum(segment.shards for segment in segments)
