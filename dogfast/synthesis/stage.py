"""The second stage: from conditions on disk to committed shards of outliers."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from dogfast.config import RunConfig
from dogfast.config.option import identity, require
from dogfast.config.synthesis import SynthesisConfig
from dogfast.data.catalogue import load_id
from dogfast.diffusion.load import TINY_DECODER, Pipeline, choose_model
from dogfast.diffusion.prompts import tokenize
from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers import SOLVERS
from dogfast.engines.networks import Networks
from dogfast.engines.opening import open_networks
from dogfast.environment import Choice
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, digest, publish, read_table, sweep_partial, versions
from dogfast.shards.card import card
from dogfast.shards.format import Facts, Sample, sample_key
from dogfast.shards.reader import has_shards, read_records
from dogfast.shards.writer import commit_shard, encode_sample
from dogfast.synthesis.conditions import read_conditions
from dogfast.synthesis.painter import Brush, Painted, image_seed, paint
from dogfast.synthesis.plan import Item, Segment, append_segment, items, read_segments, spread
from dogfast.synthesis.recipes import Recipe, choose_decoder, resolve_recipe
from dogfast.synthesis.resolver import Resolver, Sources, painted_from, prompt_of

SHARDS_IN_FLIGHT = 2


@dataclass(frozen=True)
class Job:
    """What every shard of one launch shares."""

    config: RunConfig
    conditions: list[dict[str, Any]]
    recipe: Recipe
    pipeline: Pipeline
    run: Run

    @property
    def resize(self) -> str:
        side = self.config.data.image_px
        painted = self.config.synthesis.resolution or self.pipeline.native_px
        return "none" if side == painted else f"bicubic-antialias {painted}->{side}"


def generate(config: RunConfig, run: Run, events: Events) -> dict[str, object]:
    """Paint what is left of ``m`` outliers a class into `outliers/<strategy>/` (Eq. 7). The same call resumes and extends.

    Raises RunMismatch when the source was painted with other fields, DataError when conditions are missing or broken.
    """
    source = config.synthesis.strategy
    folder = run.outliers(source)
    conditions = read_conditions(run.conditions, source)
    pipeline = Pipeline(config.model, choose_model(config.model.model, config.data.classes).value)
    recipe = recipe_for(config.synthesis, conditions, len(pipeline.alphas_cumprod))
    decoder = choose_decoder(recipe.decoder, config.data.image_px, pipeline.has_tiny_decoder)
    recipe = replace(recipe, decoder=decoder.value)
    schedule_of(recipe, conditions, pipeline)
    side_in_latents(config.synthesis.resolution, pipeline)
    painted = has_shards(folder)
    fields = synthesis_identity(config, recipe, pipeline, conditions)
    run.claim(f"synthesis/{source}", fields, has_results=painted)
    if not painted:
        shutil.rmtree(run.plan(source), ignore_errors=True)
    segments = plan_segments(config, run, conditions, events)
    sweep_partial(folder)
    records = read_records(folder)
    left = _left(segments, conditions, {record["shard"] for record in records})
    started = time.monotonic()
    if left:
        events.say(f"decoder {decoder.value}: {decoder.reason}")
    new = _paint_shards(Job(config, conditions, recipe, pipeline, run), left, events) if left else []
    named = Path(config.data.classes).name or config.data.classes
    publish(folder / "README.md", card(named, source, model_name(pipeline), pipeline.revision, records + new))
    return _summary(run, source, recipe, records, new, time.monotonic() - started)


def recipe_for(config: SynthesisConfig, conditions: list[dict[str, Any]], timesteps: int) -> Recipe:
    """The recipe of ``config`` as the conditions' strategy bends it: its guidance, unless a flag names another, and the share
    of the steps that is left where painting starts at ID images."""
    recipe, own, start_t = resolve_recipe(config), conditions[0].get("guidance_scale"), conditions[0].get("start_t")
    if own is not None and config.guidance_scale is None:
        recipe = replace(recipe, guidance=replace(recipe.guidance, scale=float(own)))
    return recipe if start_t is None else replace(recipe, steps=max(1, round(recipe.steps * (start_t + 1) / timesteps)))


def schedule_of(recipe: Recipe, conditions: list[dict[str, Any]], pipeline: Pipeline) -> Schedule:
    """Where the recipe's solver goes; :class:`UsageError` for more --steps than it has timesteps."""
    return SOLVERS[recipe.solver].spacing(pipeline.alphas_cumprod, recipe.steps, conditions[0].get("start_t"))


def synthesis_identity(
    config: RunConfig, recipe: Recipe, pipeline: Pipeline, conditions: list[dict[str, Any]]
) -> dict[str, object]:
    """The fields and inputs that decide every byte of the shards."""
    return {
        **identity(config.synthesis),
        "solver": recipe.solver,
        "decoder": recipe.decoder,
        "tiny_decoder": pipeline.weights(TINY_DECODER) if recipe.decoder == "tiny" else "",
        "steps": recipe.steps,
        "guidance_scale": recipe.guidance.scale,
        "guidance_start": recipe.guidance.start,
        "guidance_stop": recipe.guidance.stop,
        "image_px": config.data.image_px,
        "precision": config.model.precision,
        "model": model_name(pipeline),
        "model_revision": pipeline.revision,
        "conditions": digest(conditions)[:16],
    }


def plan_segments(config: RunConfig, run: Run, conditions: list[dict[str, Any]], events: Events) -> list[Segment]:
    """The plan on disk, with a segment appended where ``m`` asks for more than is planned."""
    folder = run.plan(config.synthesis.strategy)
    sweep_partial(folder)
    segments = read_segments(folder)
    class_of = [condition["cls"] for condition in conditions]
    if any(row >= len(class_of) for segment in segments for row in segment.counts):
        raise DataError(
            f"{folder} plans conditions that {run.conditions} does not hold; restore it, or choose another --output"
        )
    planned = sum(segment.images for segment in segments) // len(set(class_of))
    if config.synthesis.m > planned:
        first_shard = sum(segment.shards for segment in segments)
        counts = spread(class_of, config.synthesis.m, planned)
        segments.append(Segment(first_shard, config.synthesis.samples_per_shard, counts))
        append_segment(folder, segments[-1])
    elif config.synthesis.m < planned:
        events.say(f"{planned} outliers a class are planned already; --m {config.synthesis.m} takes none away")
    return segments


def model_name(pipeline: Pipeline) -> str:
    """The generator as files name it: a folder by its last part, for no path belongs into a data set."""
    return Path(pipeline.place).resolve().name if Path(pipeline.place).is_dir() else pipeline.name


def side_in_latents(wanted: int | None, pipeline: Pipeline) -> int:
    """Side of the latents that are painted; :class:`UsageError` for a --resolution the decoder cannot give."""
    unit = pipeline.downscale
    require(wanted is None or wanted % unit == 0, f"--resolution {wanted} must be a multiple of {unit}, this model's unit")
    return (wanted or pipeline.native_px) // unit


def choose_rows(wanted: int, device: str, latent_positions: int) -> Choice[int]:
    """Images painted together: enough to fill the machine, few enough to fit its memory."""
    if wanted:
        return Choice(wanted, "asked for by --rows")
    budget = 65_536 if device.startswith("cuda") else 4_096
    rows = max(1, min(128, budget // latent_positions))
    return Choice(rows, f"{latent_positions} latent positions an image on {device}")


# --- painting ---------------------------------------------------------------------------------------------------
def _left(segments: list[Segment], conditions: list[dict[str, Any]], done: set[int]) -> list[list[Item]]:
    class_of = [condition["cls"] for condition in conditions]
    shards = [
        list(group) for segment in segments for _, group in groupby(items(segment, class_of), key=lambda item: item.shard)
    ]
    return [shard for shard in shards if shard[0].shard not in done]


def _paint_shards(job: Job, left: list[list[Item]], events: Events) -> list[dict[str, Any]]:
    """Paint shard after shard; encoding, hashing and writing of one run behind the painting of the next."""
    brush = _open_brush(job, events)
    folder = job.run.outliers(job.config.synthesis.strategy)
    records, in_flight = [], deque()
    with events.progress("generate", sum(map(len, left))) as advance, ThreadPoolExecutor(1) as committer:
        for shard in left:
            began = time.monotonic()
            painted = paint(brush, [item.condition for item in shard], _seeds(job, shard), advance)
            if len(in_flight) >= SHARDS_IN_FLIGHT:
                records.append(_committed(in_flight.popleft(), events))
            facts = _record_facts(brush, time.monotonic() - began)
            in_flight.append(committer.submit(_commit, job, folder, shard, painted, facts))
        records += [_committed(future, events) for future in in_flight]
    return records


def _committed(future: Future, events: Events) -> dict[str, Any]:
    record = future.result()
    events(
        "shard_committed", shard=record["shard"], samples=record["samples"], failed=record["failed"], seconds=record["seconds"]
    )
    return record


def _open_brush(job: Job, events: Events) -> Brush:
    config, pipeline = job.config, job.pipeline
    networks = open_networks(pipeline, config.model, events)
    side = side_in_latents(config.synthesis.resolution, pipeline)
    rows = choose_rows(config.synthesis.rows, networks.device, side * side)
    events.say(f"{rows.value} rows: {rows.reason}")
    sources = Sources(config.concepts.prompt, _tables(job.run, job.conditions), cache(lambda: load_id(config.data).train))
    return brush_for(pipeline, networks, job.recipe, job.conditions, sources, side, config.data.image_px, rows.value)


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
    start_t = conditions[0].get("start_t")
    signal = 0.0 if start_t is None else float(pipeline.alphas_cumprod[start_t])
    resolver = Resolver(conditions, pipeline, networks, (pipeline.latent_channels, side, side), signal, sources)
    empty = networks.encode_text(tokenize(pipeline.tokenizer, [recipe.negative_prompt]))[0].cpu()
    decode = networks.decode_tiny if recipe.decoder == "tiny" else networks.decode
    schedule = schedule_of(recipe, conditions, pipeline)
    return Brush(networks, decode, recipe, schedule, image_px, rows, resolver.texts, resolver.starts, empty)


def _tables(run: Run, conditions: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """The tables that conditions refer to. Raises :class:`DataError` for one that is not there or too short."""
    refs = [ref for condition in conditions for ref, _ in condition["text"] if not isinstance(ref, str)]
    tables = {name: read_table(run.table(name)) for name in {ref["table"] for ref in refs}}
    short = [ref for ref in refs if ref["row"] >= len(tables[ref["table"]])]
    if short:
        raise DataError(f"{run.table(short[0]['table'])} has no row {short[0]['row']}, which a condition names")
    return tables


def _seeds(job: Job, shard: list[Item]) -> Callable[[int, int], int]:
    def seed_of(place: int, attempt: int) -> int:
        item = shard[place]
        condition = job.conditions[item.condition]
        return image_seed(job.config.synthesis.seed, condition["class_name"], painted_from(condition), item.index, attempt)

    return seed_of


# --- writing ----------------------------------------------------------------------------------------------------
def _commit(job: Job, folder, shard: list[Item], painted: list[Painted], facts: dict[str, Any]) -> dict[str, Any]:
    pixels = hashlib.sha256()
    samples = []
    for item, result in zip(shard, painted):
        if not result.fault:
            image = result.image.numpy()
            pixels.update(image.tobytes())
            samples.append(_encoded(job, item, result, image))
    faults = [result.fault for result in painted if result.fault]
    counts = {"failed": len(faults), "faults": {fault: faults.count(fault) for fault in sorted(set(faults))}}
    counts["resampled"] = sum(result.attempt > 0 and not result.fault for result in painted)
    return commit_shard(folder, shard[0].shard, samples, pixels, facts | counts)


def _encoded(job: Job, item: Item, result: Painted, image) -> Sample:
    condition = job.conditions[item.condition]
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
        width=image.shape[1],
        height=image.shape[0],
        recipe=job.recipe.name,
        steps=job.recipe.steps,
        guidance_scale=float(job.recipe.guidance.scale),
        resize=job.resize,
        model=model_name(job.pipeline),
        model_revision=job.pipeline.revision,
    )
    return encode_sample(image, facts)


def _record_facts(brush: Brush, seconds: float) -> dict[str, Any]:
    networks = brush.networks
    engine = {"backend": networks.backend, "device": networks.device, "precision": networks.precision, "rows": brush.rows}
    return {**engine, "versions": versions(), "seconds": round(seconds, 3)}


def _summary(run: Run, source: str, recipe: Recipe, before: list[dict], new: list[dict], seconds: float) -> dict[str, object]:
    painted = sum(record["samples"] for record in new)
    return {
        "run": str(run.root),
        "source": source,
        "outliers": painted + sum(record["samples"] for record in before),
        "shards": len(before) + len(new),
        "resumed_shards": len(before),
        "failed": sum(record.get("failed", 0) for record in before + new),
        "seconds": round(seconds, 3),
        "img_per_s": round(painted / seconds, 2) if new else 0.0,
        "backend": (new or before)[-1].get("backend", "torch") if new or before else "none",
        "recipe": recipe.name,
    }
