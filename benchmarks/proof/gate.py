"""Does a faster recipe teach as well? In one seed, the same conditions painted by each recipe, `dog` tuned on them."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from comparison import compare
from proof.rows import SHARED, complete_all, prepared
from proof.world import FAR, STRANGERS, World

from dogfast.config import RunConfig
from dogfast.events import Events
from dogfast.run import Run
from dogfast.shards.reader import read_records
from dogfast.training.names import classifier_name
from dogfast.workflows.comparison.cells import Cell
from dogfast.workflows.comparison.inside import run_at, take_over

PUBLISHED, USUAL = "paper", "quality"
RECIPES: dict[str, dict[str, Any]] = {
    PUBLISHED: {"recipe": "paper"},
    USUAL: {"recipe": "quality"},
    "quality, 8 steps": {"recipe": "quality", "steps": 8},
}
"""``USUAL`` is what all other parts paint with."""


def run_gate(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    seed = seeds[0]
    with prepared(world, seed, events) as run:
        for name in RECIPES:
            config = config_of(world, seed, name)
            if name == USUAL:
                complete_all([Cell(config, run)], name, events)
                continue
            with run_at(place(world, seed, name), config, run) as own:
                take_over(run, own, config, SHARED)
                complete_all([Cell(config, own)], name, events)
    runs = {name: Run(place(world, seed, name)) for name in RECIPES}
    classifier = classifier_name(config_of(world, seed, USUAL).training)
    folders = {name: [run.evaluation(classifier)] for name, run in runs.items()}
    return {
        "order": list(RECIPES),
        "published": PUBLISHED,
        "strangers": compare(folders, (PUBLISHED,), (STRANGERS,)),
        "everywhere": compare(folders, (PUBLISHED,), (STRANGERS, *FAR)),
        "seconds_an_image": {name: _seconds_an_image(run) for name, run in runs.items()},
    }


def config_of(world: World, seed: int, name: str) -> RunConfig:
    return world.config(seed, "dog").with_values({"synthesis": RECIPES[name]}, "benchmark")


def place(world: World, seed: int, name: str) -> Path:
    return world.of_seed(seed, "" if name == USUAL else f"recipe-{list(RECIPES).index(name)}")


def _seconds_an_image(run: Run) -> float:
    return median(record["seconds"] / record["samples"] for record in read_records(run.outliers("dog")))
