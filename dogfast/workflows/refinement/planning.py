"""What a round paints and what it learns from: pure functions of the outcome before, and their place on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dogfast.config.option import require
from dogfast.data.splits import may_train
from dogfast.errors import DataError
from dogfast.rounds import Outcome, plan_file, read_outcome, read_plan, write_plan
from dogfast.synthesis.job import Job
from dogfast.synthesis.plan import (
    Segment,
    append_segment,
    fits,
    going_on,
    planned_a_condition,
    read_segments,
)
from dogfast.workflows.refinement.looks import why_contaminant
from dogfast.workflows.refinement.posterior import Tried, allot


def plan_round(job: Job, number: int, more: int, before: Outcome | None) -> bool:
    """Append what round ``number`` adds, ``more`` images a class, to the plan, and write what it learns from: the shards that are
    planned then, but for the conditions that are dropped.

    The first takes what is planned, and what was added to it before it was over. The others go by the outcome ``before``; False, and
    nothing written, where that leaves no condition. What stands of them is not planned again. Raises UsageError where the plan
    would hold more than a source can, DataError where it no longer holds what the round is of.
    """
    path = plan_file(job.run, job.source, number)
    if before is None:
        plan = _first_plan(job)
    else:
        plan = read_plan(path) if path.exists() else _next_plan(job, number, more, before)
    if plan is None:
        return False
    if plan["shards"] > _planned(job):
        raise DataError(
            f"round {number} is of {plan['shards']} shards, and {job.run.plan(job.source)} plans {_planned(job)}; remove "
            f"{path.parent.parent} to refine anew"
        )
    write_plan(path, plan)
    return True


def _first_plan(job: Job) -> dict[str, Any]:
    path, over = plan_file(job.run, job.source, 1), read_outcome(job.run, job.source, 1)
    if path.exists() and plan_file(job.run, job.source, 2).exists():
        return read_plan(path)
    return {"shards": over["shards"] if over else _planned(job), "dropped": []}


def _next_plan(job: Job, number: int, more: int, before: Outcome) -> dict[str, Any] | None:
    dropped = [*before["dropped"], *_contaminants(before, number)]
    added = _add(job, number, more, before, {row["condition"] for row in dropped})
    return None if added is None else {"shards": added.first_shard + added.shards, "dropped": dropped}


def _planned(job: Job) -> int:
    return _shards(read_segments(job.run.plan(job.source)))


def _add(job: Job, number: int, more: int, before: Outcome, dropped: set[int]) -> Segment | None:
    """The round's segment, appended unless it stands, as after a kill between it and `plan.json`; None where no condition is left."""
    tallies = {row["condition"]: row for row in before["conditions"]}
    tried = [
        _tried(row, condition["cls"], tallies.get(row))
        for row, condition in enumerate(job.conditions)
        if row not in dropped and may_train(condition)
    ]
    if not tried:
        return None
    segments = read_segments(job.run.plan(job.source))
    later = [place for place, segment in enumerate(segments) if segment.first_shard >= before["shards"]]
    for place in later:
        if _segment(job, segments[:place], tried, number, more).counts == segments[place].counts:
            return segments[place]
    added = _segment(job, segments, tried, number, more)
    require(
        fits([*segments, added]),
        f"round {number} would bring {job.source!r} to more than a source can hold; choose fewer --rounds, a smaller --m or "
        "larger --samples-per-shard",
    )
    append_segment(job.run.plan(job.source), added)
    return added


def _tried(row: int, cls: int, tally: dict[str, Any] | None) -> Tried:
    """A condition as the posterior counts it; one whose shard lost images, as a repair may leave it, was not fooled by more than it has."""
    images, fooled = (tally["images"], tally["fooled_in_all"]) if tally else (0, 0)
    return Tried(row, cls, images, min(images, fooled))


def _segment(job: Job, segments: Sequence[Segment], tried: Sequence[Tried], number: int, more: int) -> Segment:
    """What round ``number`` adds to ``segments``."""
    validating = _validating(job, segments, more)
    left = Counter(dict.fromkeys(job.class_of, more))
    for row, count in validating.items():
        left[job.class_of[row]] -= count
    shares = _shared_out(left, sorted({each.cls for each in tried}))
    allotted = allot(tried, shares, job.config.synthesis.seed, job.source, number) | validating
    counts = going_on(allotted, planned_a_condition(list(segments)))
    return Segment(_shards(segments), job.config.synthesis.samples_per_shard, counts)


def _shared_out(left: Counter[int], classes: list[int]) -> dict[int, int]:
    """What each of ``classes``, which have a condition, is to paint: its own of what is ``left``, and evenly that of the others."""
    spare = sum(left.values()) - sum(left[cls] for cls in classes)
    each, over = divmod(spare, len(classes))
    return {cls: left[cls] + each + (place < over) for place, cls in enumerate(classes)}


def _validating(job: Job, segments: Sequence[Segment], more: int) -> dict[int, int]:
    """What the conditions that validate are to have of ``more`` images a class: their even share of all, as in the first round.

    So rounds bring training and validation as many images as the same number painted at once.
    """
    planned, conditions = planned_a_condition(list(segments)), Counter(job.class_of)
    of_class: Counter[int] = Counter()
    for row, count in planned.items():
        of_class[job.class_of[row]] += count
    wanted: dict[int, int] = {}
    left = Counter(dict.fromkeys(job.class_of, more))
    for row, cls in enumerate(job.class_of):
        if not may_train(job.conditions[row]):
            wanted[row] = min(left[cls], max(0, (of_class[cls] + more) // conditions[cls] - planned[row]))
            left[cls] -= wanted[row]
    return wanted


def _contaminants(outcome: Outcome, number: int) -> list[dict[str, Any]]:
    """The conditions that round ``number`` drops, and why."""
    found = []
    for row in outcome["conditions"]:
        bound = outcome["bounds"][row["class_name"]]
        if reason := why_contaminant(row["images"], row["like_id"], row["distance"], bound):
            named = {name: row[name] for name in ("condition", "class_name", "anchor")}
            found.append(named | {"round": number, "reason": reason})
    return found


def _shards(segments: Sequence[Segment]) -> int:
    return sum(segment.shards for segment in segments)
