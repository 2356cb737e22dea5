"""What one process does: paint shard after shard, and commit each while the next is painted."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from dogfast.data.catalogue import load_id
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import tokenize
from dogfast.engines.building import runtime_versions
from dogfast.engines.choice import TORCH
from dogfast.engines.networks import Networks
from dogfast.engines.opening import open_networks
from dogfast.environment import Choice, device_name
from dogfast.errors import DataError, EnvironmentFault, OutOfMemory, is_out_of_memory
from dogfast.events import Events
from dogfast.run import Run, read_table, versions
from dogfast.shards.format import Facts, Sample, sample_key
from dogfast.shards.reader import read_records
from dogfast.shards.writer import commit_shard, encode_sample
from dogfast.synthesis.id_check import LOOKS_ID, Check, id_check
from dogfast.synthesis.job import Job, model_name, schedule_of, side_in_latents
from dogfast.synthesis.memory import fewer, free_memory
from dogfast.synthesis.painter import Brush, Painted, image_seed, paint
from dogfast.synthesis.plan import Item, Shard
from dogfast.synthesis.quality import FaultCount
from dogfast.synthesis.recipes import Recipe
from dogfast.synthesis.resolver import Resolver, Sources, painted_from, prompt_of
from dogfast.synthesis.safety_check import UNSAFE, safety_check
from dogfast.synthesis.watchdog import Watchdog

SHARDS_IN_FLIGHT = 2
Record = dict[str, Any]
Advance = Callable[[int], None]
PaintAll = Callable[[Job, list[Shard], Events, Advance], None]
"""Paints and commits all of the shards, by whatever processes, and returns when they are committed."""


@dataclass(frozen=True)
class Fresh:
    """A painted shard that is not committed yet, and what its record will say of the painting."""

    number: int
    items: list[Item]
    painted: list[Painted]
    facts: dict[str, Any]


class Worker:
    """One process with its networks: paints a shard, and commits what was painted."""

    def __init__(self, job: Job, rank: int, events: Events):
        self.job, self.rank, self.events, self.watchdog = job, rank, events, Watchdog()
        self.faults = FaultCount(read_records(job.folder))
        self.brush = self._open()

    def _open(self) -> Brush:
        return open_brush(self.job, self.events, open_networks(self.job.pipeline, self.job.config.model, self.events))

    def paint(self, shard: Shard, advance: Advance = lambda images: None) -> Fresh:
        """Every image of ``shard``. Where the device runs out of memory, fewer together from then on: images do not change.

        Raises :class:`DataError` where most of what the generator paints cannot be used.
        """
        began, counted, items = time.monotonic(), _Counted(advance), shard.items()

        def told(images: int) -> None:
            with self.watchdog.between_batches():
                counted(images)

        while True:
            try:
                with self.watchdog.watching(), _beside(self.brush.networks):
                    painted = paint(self.brush, [item.condition for item in items], _seeds(self.job, items), told)
                self.faults.add([result.fault for result in painted])
                return Fresh(shard.number, items, painted, _record_facts(self.brush, self.rank, time.monotonic() - began))
            except (RuntimeError, MemoryError, OutOfMemory) as error:
                if not is_out_of_memory(error):
                    raise
                rows = fewer(self.brush.rows, error)
            self._reopen(rows)
            counted.again()
            self.watchdog.forget()
            self.events.say(f"the device is out of memory; {rows} rows from here on")

    def _reopen(self, rows: int) -> None:
        """The brush for ``rows``; engines that were made for more let go of their memory first."""
        self.brush = None
        free_memory()
        self.brush = replace(self._open(), rows=rows)

    def commit(self, fresh: Fresh) -> Record:
        return _commit(self.job, fresh)


@contextmanager
def _beside(networks: Networks) -> Iterator[None]:
    """One thread for torch while an engine has the cores: torch's others wait for work by spinning, on the engine's time."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if networks.backend == TORCH else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Counted:
    """Hands on how many images were painted, those of a second try only where they go beyond the first."""

    def __init__(self, advance: Advance):
        self.advance, self.told, self.done = advance, 0, 0

    def __call__(self, images: int) -> None:
        self.done += images
        self.advance(max(0, self.done - self.told))
        self.told = max(self.told, self.done)

    def again(self) -> None:
        self.done = 0


def paint_shards(job: Job, shards: list[Shard], rank: int, events: Events, advance: Advance) -> None:
    """Paint and commit ``shards``; ``advance`` counts images as they are painted."""
    if not shards:
        return
    worker, in_flight = Worker(job, rank, events), deque()
    with ThreadPoolExecutor(1) as committer:
        try:
            for shard in shards:
                in_flight.append(committer.submit(worker.commit, worker.paint(shard, advance)))
                if len(in_flight) > SHARDS_IN_FLIGHT:
                    tell_of_shard(in_flight.popleft().result(), events)
            for future in in_flight:
                tell_of_shard(future.result(), events)
        except EnvironmentFault:  # where one cannot be written, the next would only wait for the store as long again
            committer.shutdown(cancel_futures=True)
            raise


def paint_alone(job: Job, shards: list[Shard], events: Events, advance: Advance) -> None:
    """Paint and commit ``shards`` in this process."""
    paint_shards(job, shards, 0, events, advance)


def tell_of_shard(record: Record, events: Events) -> None:
    events(
        "shard_committed", shard=record["shard"], samples=record["samples"], failed=record["failed"], seconds=record["seconds"]
    )


# --- the brush --------------------------------------------------------------------------------------------------
def choose_rows(wanted: int, device: str, latent_positions: int) -> Choice[int]:
    """Images painted together: enough to fill the machine, few enough to fit its memory."""
    if wanted:
        return Choice(wanted, "asked for by --rows")
    budget = 65_536 if device.startswith("cuda") else 4_096
    rows = max(1, min(128, budget // latent_positions))
    return Choice(rows, f"{latent_positions} latent positions an image on {device}")


def open_brush(job: Job, events: Events, networks: Networks) -> Brush:
    """The brush of ``job`` over its pipeline's ``networks``; choices are announced."""
    config, pipeline = job.config, job.pipeline
    side = side_in_latents(config.synthesis.resolution, pipeline)
    rows = choose_rows(config.synthesis.rows, networks.device, side * side)
    events.say(f"{rows.value} rows: {rows.reason}")
    events.say(f"decoder {job.decoder.value}: {job.decoder.reason}")
    sources = Sources(config.concepts.prompt, _tables(job.run, job.conditions), cache(lambda: load_id(config.data).train))
    brush = brush_for(pipeline, networks, job.recipe, job.conditions, sources, side, config.data.image_px, rows.value)
    return replace(brush, checks=_checks(job, networks))


def _checks(job: Job, networks: Networks) -> dict[str, Check]:
    """What images are refused for beyond their quality."""
    config, checks = job.config, {}
    if config.synthesis.reject_id:
        checks[LOOKS_ID] = id_check(job.pipeline, networks, config.concepts.prompt, job.conditions)
    if config.model.safety_checker:
        checks[UNSAFE] = safety_check(job.pipeline, networks.device)
    return checks


def brush_for(
    pipeline: Pipeline,
    networks: Networks,
    recipe: Recipe,
    conditions: list[dict[str, Any]],
    sources: Sources,
    side: int,
    image_px: int,
    rows: int,
) -> Brush:
    """The brush for ``conditions``: latents of ``side``, images of ``image_px``, ``rows`` at once."""
    schedule = schedule_of(recipe, conditions, pipeline)
    signal = 0.0 if "start_t" not in conditions[0] else float(pipeline.alphas_cumprod[schedule.timesteps[0]])
    resolver = Resolver(conditions, pipeline, networks, (pipeline.latent_channels, side, side), signal, sources)
    empty = networks.encode_text(tokenize(pipeline.tokenizer, [recipe.negative_prompt]))[0]
    decode = {"none": None, "tiny": networks.decode_tiny}.get(recipe.decoder, networks.decode)
    return Brush(networks, decode, recipe, schedule, image_px, rows, resolver.texts, resolver.starts, empty)


def _tables(run: Run, conditions: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The tables that conditions refer to. Raises :class:`DataError` for one that is not there or too short."""
    refs = [ref for condition in conditions for ref, _ in condition["text"] if not isinstance(ref, str)]
    tables = {name: read_table(run.table(name)) for name in {ref["table"] for ref in refs}}
    short = [ref for ref in refs if ref["row"] >= len(tables[ref["table"]])]
    if short:
        raise DataError(f"{run.table(short[0]['table'])} has no row {short[0]['row']}, which a condition names")
    return tables


def _seeds(job: Job, items: list[Item]) -> Callable[[int, int], int]:
    def seed_of(place: int, attempt: int) -> int:
        item = items[place]
        condition = job.conditions[item.condition]
        return image_seed(job.config.synthesis.seed, condition["class_name"], painted_from(condition), item.index, attempt)

    return seed_of


# --- writing ----------------------------------------------------------------------------------------------------
def _commit(job: Job, fresh: Fresh) -> Record:
    painted = fresh.painted
    pixels = hashlib.sha256()
    samples = []
    for item, result in zip(fresh.items, painted):
        if not result.fault:
            content = result.content.numpy()
            pixels.update(content.tobytes())
            samples.append(_encoded(job, item, result, content))
    faults = [result.fault for result in painted if result.fault]
    counts = {"failed": len(faults), "faults": {fault: faults.count(fault) for fault in sorted(set(faults))}}
    counts["kind"] = job.config.synthesis.output_kind
    counts["resampled"] = sum(result.attempt > 0 and not result.fault for result in painted)
    return commit_shard(job.folder, fresh.number, samples, pixels, fresh.facts | counts)


def _encoded(job: Job, item: Item, result: Painted, content: np.ndarray) -> Sample:
    condition = job.conditions[item.condition]
    height, width = content.shape[1:] if job.latents else content.shape[:2]
    facts = Facts(
        key=sample_key(item.shard, item.position),
        cls=condition["cls"],
        class_name=condition["class_name"],
        strategy=condition["strategy"],
        anchor=condition["anchor"],
        synset="",
        prompt=prompt_of(condition),
        condition=item.condition,
        seed=result.seed,
        status="resampled" if result.attempt else "ok",
        attempt=result.attempt,
        width=width,
        height=height,
        recipe=job.recipe.name,
        steps=job.recipe.steps,
        guidance_scale=float(job.recipe.guidance.scale),
        resize=job.resize,
        model=model_name(job.pipeline),
        model_revision=job.pipeline.revision,
    )
    return encode_sample(content, facts)


def _record_facts(brush: Brush, rank: int, seconds: float) -> dict[str, Any]:
    networks = brush.networks
    engine = {"backend": networks.backend, "device": networks.device, "precision": networks.precision, "rows": brush.rows}
    made = {"processor": device_name(networks.device), "versions": versions() | runtime_versions(networks.backend)}
    return {**engine, **made, "rank": rank, "seconds": round(seconds, 3)}
