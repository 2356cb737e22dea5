"""The stage behind `dogfast generate` as a contender: on networks that are open, into an empty run."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from peers import BETAS

import dogfast.synthesis.job as job
import dogfast.synthesis.worker as worker
from dogfast.config import RunConfig
from dogfast.config.model import ModelConfig
from dogfast.data.shapes import ID_WORDS
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.diffusion.schedule import alphas_cumprod
from dogfast.engines.networks import Networks
from dogfast.events import Events
from dogfast.run import launch, write_jsonl
from dogfast.synthesis.stage import generate

Contender = Callable[[], float]
"""Paints once; seconds an image."""


@dataclass(frozen=True)
class Job:
    """``images`` of ``classes``, painted at ``side_px`` and stored at ``image_px``, ``rows`` at once."""

    side_px: int
    image_px: int
    classes: int
    images: int
    rows: int


def in_turn(contenders: dict[str, Contender], rounds: int, fewer: dict[str, int] | None = None) -> dict[str, list[float]]:
    """What every contender answers in ``rounds`` rounds, or in ``fewer``, after once to warm up where there is more than one."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(-1, rounds):
        for name, contender in contenders.items():
            wanted = (fewer or {}).get(name, rounds)
            if number >= wanted or (number < 0 and wanted == 1):
                continue
            took = contender()
            print(f"round {number}: {name}: {took:.4f} s", file=sys.stderr, flush=True)
            if number >= 0:
                seconds[name].append(took)
    return seconds


def spread(seconds: list[float]) -> dict[str, Any]:
    return {"seconds_an_image": median(seconds), "fastest": min(seconds), "slowest": max(seconds), "rounds": len(seconds)}


class RandomModel(RandomPipeline):
    """Stable Diffusion v1.5 with random weights, as synthesis asks for it; it reads prompts as `tiny` does."""

    alphas_cumprod = alphas_cumprod(BETAS)

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = Pipeline(ModelConfig(), "tiny").tokenizer
        self.tokenizer.model_max_length = self.tokens


def prompts(classes: int) -> tuple[str, ...]:
    return tuple(f"a photo of a {word}" for word in ID_WORDS[:classes])


def painting(pipeline: Pipeline, networks: Networks, wanted: Job, recipe: dict[str, Any]) -> Contender:
    """The whole stage, from conditions to committed shards."""
    values = {"m": wanted.images // wanted.classes, "rows": wanted.rows, "resolution": wanted.side_px}
    values |= {"samples_per_shard": max(wanted.rows, -(-wanted.images // 2)), **recipe}
    sections = {"data": {"image_px": wanted.image_px}, "model": {"model": "tiny"}, "synthesis": values}
    config = RunConfig().with_values(sections, "benchmark")

    def paint() -> float:
        with TemporaryDirectory() as place, _opened(pipeline, networks), launch(Path(place) / "run", "") as run:
            write_jsonl(run.conditions, _conditions(wanted.classes))
            began = time.perf_counter()
            found = generate(config, run, Events())
            seconds = time.perf_counter() - began
        assert found["outliers"] + found["failed"] in (wanted.images, 0), f"{found} of {wanted.images} images"
        return seconds / wanted.images

    return paint


def _conditions(classes: int) -> list[dict[str, Any]]:
    return [
        {"cls": y, "class_name": word, "strategy": "dog", "anchor": word, "text": [[prompt, 1.0]]}
        for y, (word, prompt) in enumerate(zip(ID_WORDS, prompts(classes)))
    ]


@contextmanager
def _opened(pipeline: Pipeline, networks: Networks) -> Iterator[None]:
    """``networks`` in the place of those that would be opened anew."""
    kept = job.Pipeline, worker.open_networks
    job.Pipeline, worker.open_networks = lambda config, model: pipeline, lambda pipeline, config, events: networks
    try:
        yield
    finally:
        job.Pipeline, worker.open_networks = kept
