"""The second stage: from conditions on disk to committed shards of outliers."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.errors import DataError, RunMismatch
from dogfast.events import Events
from dogfast.run import Run, publish, sweep_partial
from dogfast.shards.card import card
from dogfast.shards.format import MAX_SHARDS
from dogfast.shards.reader import has_shards, read_records, sources_at
from dogfast.store import Place, open_place
from dogfast.synthesis.encoding import keep_id_latents
from dogfast.synthesis.job import Job, job_identity, model_name, open_job
from dogfast.synthesis.plan import (
    MAX_IMAGES,
    Segment,
    append_segment,
    fits,
    planned_a_class,
    planned_a_condition,
    read_segments,
    shards_of,
    spread,
)
from dogfast.synthesis.space import bytes_of_one, require_space
from dogfast.synthesis.worker import PaintAll, Record, paint_alone


def generate(config: RunConfig, run: Run, events: Events, paint_all: PaintAll = paint_alone) -> dict[str, object]:
    """Paint what is left of ``m`` outliers a class into `outliers/<source>/` (Eq. 7). The same call resumes and extends.

    Raises RunMismatch when the source was painted with other fields, DataError when conditions are missing or broken.
    """
    settle_store(run, config.synthesis.store)
    job = open_job(config, run)
    claim(job)
    if not has_shards(job.folder):
        shutil.rmtree(run.plan(job.source), ignore_errors=True)
    segments = plan_segments(job, events)
    if isinstance(job.folder, Path):
        sweep_partial(job.folder)
    before = read_records(job.folder)
    known = {record["shard"] for record in before}
    left = [shard for number, shard in shards_of(segments, job.class_of).items() if number not in known]
    require_space(job.folder, sum(map(len, left)), bytes_of_one(config, job.pipeline, before))
    started = time.monotonic()
    with events.progress("generate", sum(map(len, left))) as advance:
        paint_all(job, left, events, advance)
    seconds = time.monotonic() - started
    new = [record for record in read_records(job.folder) if record["shard"] not in known]
    named = Path(config.data.classes).name or config.data.classes
    model, kind = model_name(job.pipeline), config.synthesis.output_kind
    publish(job.folder / "README.md", card(named, job.source, model, job.pipeline.revision, before + new, kind))
    if job.latents:
        keep_id_latents(job, events)
    return _summary(job, before, new, seconds)


def store_for(run: Run, wanted: str) -> Place:
    """Where the run's outliers lie, or will with ``--store wanted``; it was listed, so it can be reached.

    Raises RunMismatch where the run has outliers elsewhere, EnvironmentFault for a store that cannot be listed.
    """
    known = run.store.absolute()
    place = open_place(wanted, "--store", run.say).absolute() if wanted else known
    if place != known and sources_at(known):
        raise RunMismatch(
            f"{run.root} has its outliers at {known}, and --store names {place}; leave --store out, or choose another --output"
        )
    place.glob("*")
    return place


def settle_store(run: Run, wanted: str) -> None:
    """Write down where the run's outliers lie, so that every later command finds them; raises what `store_for` raises."""
    place = store_for(run, wanted)
    if place != run.store.absolute():
        publish(run.store_file, f"{place}\n")


def claim(job: Job) -> None:
    """Bind the source to what decides its bytes; :class:`RunMismatch` where it was painted with something else."""
    painted = has_shards(job.folder)
    if painted and job.stage not in job.run.state["stages"]:
        raise RunMismatch(f"{job.folder} holds shards that {job.run.root} did not paint; choose another --store")
    job.run.claim(job.stage, job_identity(job), has_results=painted)


def plan_segments(job: Job, events: Events) -> list[Segment]:
    """The plan on disk, with a segment appended where ``m`` asks for more than is planned."""
    folder, class_of, settings = job.run.plan(job.source), job.class_of, job.config.synthesis
    sweep_partial(folder)
    segments = read_segments(folder)
    if any(row >= len(class_of) for segment in segments for row in segment.counts):
        raise DataError(
            f"{folder} plans conditions that {job.run.conditions} does not hold; restore it, or choose another --output"
        )
    planned = planned_a_class(segments, class_of)
    if settings.m > planned:
        first_shard = sum(segment.shards for segment in segments)
        counts = spread(class_of, settings.m, planned_a_condition(segments))
        segments.append(Segment(first_shard, settings.samples_per_shard, counts))
        require(
            fits(segments),
            f"--m {settings.m} is too much: a source holds {MAX_IMAGES:,} outliers in {MAX_SHARDS:,} shards at most; "
            "choose a smaller --m or larger --samples-per-shard",
        )
        append_segment(folder, segments[-1])
    elif settings.m < planned:
        events.say(f"{planned} outliers a class are planned already; --m {settings.m} takes none away")
    return segments


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
