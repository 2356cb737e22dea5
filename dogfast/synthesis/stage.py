"""The second stage: from conditions on disk to committed shards of outliers."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, publish, sweep_partial
from dogfast.shards.card import card
from dogfast.shards.format import record_name
from dogfast.shards.reader import has_shards, read_records
from dogfast.synthesis.crew import ALONE, Crew
from dogfast.synthesis.job import Job, job_identity, model_name, open_job
from dogfast.synthesis.plan import Item, Segment, append_segment, items, read_segments, spread
from dogfast.synthesis.worker import Record, paint_shards

LOOK_S = 0.5
"""How often the first process looks for what the others committed, once its own part is done."""


def generate(config: RunConfig, run: Run, events: Events, crew: Crew = ALONE) -> dict[str, object]:
    """Paint what is left of ``m`` outliers a class into `outliers/<strategy>/` (Eq. 7). The same call resumes and extends.

    Called by the first process of a ``crew``; the others call `assist`. Raises RunMismatch when the source was painted with
    other fields, DataError when conditions are missing or broken.
    """
    job = open_job(config, run)
    painted = has_shards(job.folder)
    run.claim(f"synthesis/{job.source}", job_identity(job), has_results=painted)
    if not painted:
        shutil.rmtree(run.plan(job.source), ignore_errors=True)
    segments = plan_segments(job, events)
    sweep_partial(job.folder)
    before = read_records(job.folder)
    left = _left(job, segments, {record["shard"] for record in before})
    started = time.monotonic()
    crew.told((config, run.root.absolute(), [shard[0].shard for shard in left]))
    mine = crew.share(left)
    own = {shard[0].shard for shard in mine}
    others = _Others(job.folder, [shard for shard in left if shard[0].shard not in own])
    with events.progress("generate", sum(map(len, left))) as advance:
        for _ in paint_shards(job, mine, crew.rank, events, lambda images: advance(images + others.images())):
            pass
        others.wait(advance)
    known = {record["shard"] for record in before}
    new = [record for record in read_records(job.folder) if record["shard"] not in known]
    named = Path(config.data.classes).name or config.data.classes
    publish(job.folder / "README.md", card(named, job.source, model_name(job.pipeline), job.pipeline.revision, before + new))
    return _summary(job, before, new, time.monotonic() - started)


def assist(crew: Crew, events_of: Callable[[Run], Events]) -> None:
    """Paint this process's part of what the first process of ``crew`` plans."""
    config, root, numbers = crew.told(None)
    run = Run(root)
    job, wanted = open_job(config, run), set(numbers)
    left = [shard for shard in _left(job, read_segments(run.plan(job.source)), set()) if shard[0].shard in wanted]
    for _ in paint_shards(job, crew.share(left), crew.rank, events_of(run), lambda images: None):
        pass


def plan_segments(job: Job, events: Events) -> list[Segment]:
    """The plan on disk, with a segment appended where ``m`` asks for more than is planned."""
    folder, class_of, settings = job.run.plan(job.source), job.class_of, job.config.synthesis
    sweep_partial(folder)
    segments = read_segments(folder)
    if any(row >= len(class_of) for segment in segments for row in segment.counts):
        raise DataError(
            f"{folder} plans conditions that {job.run.conditions} does not hold; restore it, or choose another --output"
        )
    planned = sum(segment.images for segment in segments) // len(set(class_of))
    if settings.m > planned:
        first_shard = sum(segment.shards for segment in segments)
        segments.append(Segment(first_shard, settings.samples_per_shard, spread(class_of, settings.m, planned)))
        append_segment(folder, segments[-1])
    elif settings.m < planned:
        events.say(f"{planned} outliers a class are planned already; --m {settings.m} takes none away")
    return segments


def _left(job: Job, segments: list[Segment], done: set[int]) -> list[list[Item]]:
    class_of = job.class_of
    shards = [
        list(group) for segment in segments for _, group in groupby(items(segment, class_of), key=lambda item: item.shard)
    ]
    return [shard for shard in shards if shard[0].shard not in done]


class _Others:
    """The shards that other processes paint: how many of their images came to stand since one last asked."""

    def __init__(self, folder: Path, shards: list[list[Item]]):
        self.waited_for = {folder / "records" / record_name(shard[0].shard): len(shard) for shard in shards}

    def images(self) -> int:
        there = [path for path in self.waited_for if path.exists()]
        return sum(self.waited_for.pop(path) for path in there)

    def wait(self, advance: Callable[[int], None]) -> None:
        while self.waited_for:
            advance(self.images())
            time.sleep(LOOK_S if self.waited_for else 0)


def _summary(job: Job, before: list[Record], new: list[Record], seconds: float) -> dict[str, Any]:
    painted = sum(record["samples"] for record in new)
    return {
        "run": str(job.run.root),
        "source": job.source,
        "outliers": painted + sum(record["samples"] for record in before),
        "shards": len(before) + len(new),
        "resumed_shards": len(before),
        "failed": sum(record.get("failed", 0) for record in before + new),
        "seconds": round(seconds, 3),
        "img_per_s": round(painted / seconds, 2) if new else 0.0,
        "backend": (new or before)[-1].get("backend", "torch") if new or before else "none",
        "recipe": job.recipe.name,
    }
