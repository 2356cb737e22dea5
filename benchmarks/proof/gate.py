"""Does a faster recipe teach as well? The same conditions painted by each recipe, `dog` tuned on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from comparison import compare
from proof.rows import SHARED, loaded, prepared
from proof.world import FAR, STRANGERS, World
from tuning import measured, tuned

from dogfast.config import RunConfig
from dogfast.config.synthesis import fields_of
from dogfast.data.catalogue import IdData
from dogfast.detection.measure import Sets
from dogfast.events import Events
from dogfast.run import Run
from dogfast.shards.reader import read_records
from dogfast.training.sources import training_outliers
from dogfast.workflows.chain import run_generate
from dogfast.workflows.comparison.inside import run_at, take_over

PUBLISHED, USUAL = "paper", "quality"
RECIPES: dict[str, dict[str, Any]] = {
    PUBLISHED: {"recipe": "paper"},
    USUAL: {"recipe": "quality"},
    "quality, 12 steps": {"recipe": "quality", "steps": 12},
    "quality, 8 steps": {"recipe": "quality", "steps": 8},
    "quality, guided on the first half": {"recipe": "quality", "guidance_stop": 0.5},
}
"""``USUAL`` is what all other parts paint with."""
M = 300
"""Outliers a class of every recipe: fewer than elsewhere, as ``PUBLISHED`` is slow."""


def run_gate(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    seeds = world.beside_rows(seeds)
    for seed in seeds:
        with prepared(world, seed, events) as run:
            data, sets = loaded(world.config(seed, "dog"), run)
            for name in RECIPES:
                _measure(world, seed, name, run, data, sets, events)
    folders = {name: [_folder(world, seed, name) for seed in seeds] for name in RECIPES}
    return {
        "seeds": seeds,
        "order": list(RECIPES),
        "published": PUBLISHED,
        "outliers": M,
        "strangers": compare(folders, (PUBLISHED,), (STRANGERS,)),
        "everywhere": compare(folders, (PUBLISHED,), (STRANGERS, *FAR)),
        "seconds_an_image": {name: _seconds_an_image([place(world, seed, name) for seed in seeds]) for name in RECIPES},
    }


def config_of(world: World, seed: int, name: str) -> RunConfig:
    return world.config(seed, "dog").with_values({"synthesis": {"m": M} | RECIPES[name] | fields_of("dog")}, "benchmark")


def place(world: World, seed: int, name: str) -> Path:
    return world.of_seed(seed, f"recipe-{list(RECIPES).index(name)}")


def _folder(world: World, seed: int, name: str) -> Path:
    return place(world, seed, name) / "measured"


def _measure(
    world: World, seed: int, name: str, run: Run, data: Callable[[], IdData], sets: Callable[[], Sets], events: Events
) -> None:
    """Paint, tune the seed's start on what may train of it, as much of every recipe, and score that."""
    config = config_of(world, seed, name)
    with run_at(place(world, seed, name), config, run) as own:
        take_over(run, own, config, SHARED)
        run_generate(config, own, events)

        def model() -> torch.nn.Module:
            return tuned(config, own, data(), training_outliers(config, own, data(), events), events, name)

        measured(_folder(world, seed, name), config, own, sets, model)


def _seconds_an_image(runs: list[Path]) -> float:
    return median(record["seconds"] / record["samples"] for each in runs for record in read_records(Run(each).outliers("dog")))
