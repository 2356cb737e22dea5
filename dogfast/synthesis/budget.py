"""How many outliers fit a budget, and by which recipe: from the seconds that one batch of each recipe takes here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.config.synthesis import seconds_of
from dogfast.engines.networks import Networks
from dogfast.engines.opening import open_networks
from dogfast.events import Events
from dogfast.run import Run
from dogfast.shards.reader import count_samples, has_shards
from dogfast.synthesis.job import Job, open_job
from dogfast.synthesis.painter import Brush, begin
from dogfast.synthesis.worker import open_brush

FINEST_FIRST = ("paper", "quality", "draft")
DISTILLED = ("draft",)
"""Recipes for generators distilled to few steps, as --lora can make them."""


@dataclass(frozen=True)
class Fit:
    """A recipe, and how many outliers a class it paints within the budget."""

    recipe: str
    m: int


def within_budget(config: RunConfig, run: Run, events: Events, painters: int) -> RunConfig:
    """``config`` with the recipe and the ``m`` that its budget allows ``painters`` processes.

    A number of images keeps the recipe. Time takes the finest recipe that paints ``m`` a class in it, else the fastest and
    as many as fit, ``m`` at most; a source that has shards keeps its recipe, and they count. Raises :class:`UsageError`
    for a budget that does not reach one outlier a class.
    """
    budget, job = config.synthesis.budget, open_job(config, run)
    classes, seconds = len(set(job.class_of)), seconds_of(budget)
    if seconds is None:
        best = Fit(config.synthesis.recipe, int(budget) // classes)
    else:
        painted = count_samples(job.folder)
        fits = []
        for name, rate in _rates(config, run, _recipes(job), events).items():
            fits.append(Fit(name, min(config.synthesis.m, (painted + int(seconds * painters * rate)) // classes)))
            events.say(f"recipe {name}: {rate:.3g} images a second and process")
        best = max(fits, key=lambda fit: fit.m)  # of equals the first, which is the finest
    require(best.m >= 1, f"--budget {budget} does not reach one outlier for each of the {classes} classes; raise it")
    events.say(f"--budget {budget}: recipe {best.recipe}, {best.m} outliers a class")
    return _with(config, recipe=best.recipe, m=best.m)


def _recipes(job: Job) -> list[str]:
    """What may be chosen: the recipe that the source was begun with, else what the generator is made for, the finest first."""
    if has_shards(job.folder):
        return [job.run.state["stages"][job.stage]["recipe"]]
    return [name for name in FINEST_FIRST if job.config.model.lora or name not in DISTILLED]


def _rates(config: RunConfig, run: Run, recipes: list[str], events: Events) -> dict[str, float]:
    """Images a second by recipe. Every call of a network is made once for all batches and recipes that have it alike."""
    jobs = {name: open_job(_with(config, recipe=name), run) for name in recipes}
    networks, stopwatch = open_networks(next(iter(jobs.values())).pipeline, config.model, events), _Stopwatch()
    timed = stopwatch.over(networks)
    return {name: _rate(open_brush(job, Events(), timed), stopwatch) for name, job in jobs.items()}


def _rate(brush: Brush, stopwatch: _Stopwatch) -> float:
    """Images a second of a full batch: the networks' seconds, and all that is done between them."""
    stopwatch.spent = stopwatch.counted = 0.0
    began = time.perf_counter()
    begin(brush, [0] * brush.rows, list(range(brush.rows)), 0)()
    between = time.perf_counter() - began - stopwatch.spent
    return brush.rows / (between + stopwatch.counted)


class _Stopwatch:
    """Networks that know how long they take: a call is made and timed when its shapes are met first, and repeated from memory."""

    def __init__(self) -> None:
        self.spent = self.counted = 0.0
        """Seconds that calls took while this was measured, and that they would have taken."""
        self._known: dict[Any, tuple[float, Any]] = {}

    def over(self, networks: Networks) -> Networks:
        calls = {each.name: getattr(networks, each.name) for each in fields(networks)}
        return replace(networks, **{name: self._timed(name, call) for name, call in calls.items() if callable(call)})

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*inputs: torch.Tensor) -> Any:
            key = name, tuple(tensor.shape for tensor in inputs)
            began = time.perf_counter()
            if key not in self._known:
                call(*inputs)  # engines are made and warmed up
                _wait()
                called = time.perf_counter()
                output = call(*inputs)
                _wait()
                self._known[key] = time.perf_counter() - called, output
            seconds, output = self._known[key]
            self.spent += time.perf_counter() - began
            self.counted += seconds
            return output

        return answer


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _with(config: RunConfig, **values: Any) -> RunConfig:
    return config.with_values({"synthesis": values}, "--budget")
