"""Over seeds: what DOG's outliers bring beside none, noise, words alone and real photographs, under `oe` and under `dog`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from comparison import compare
from proof.world import FAR, PAINTED_ID, REAL, STRANGERS, World

from dogfast.config import RunConfig
from dogfast.config.synthesis import fields_of
from dogfast.config.training import START
from dogfast.data.catalogue import load_id
from dogfast.environment import machine_cores
from dogfast.events import Events
from dogfast.run import Run, launch, read_jsonl
from dogfast.shards.format import ID_CONTROL
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_generate, run_id_control, run_train
from dogfast.workflows.comparison.cells import Cell, stands
from dogfast.workflows.comparison.inside import run_at, take_over
from dogfast.workflows.comparison.jobs import completed
from dogfast.workflows.comparison.passes import passes_given, passes_of

LONGER, PAINTED = "longer", "painted-id"
SHARED = ("concepts", f"synthesis/{ID_CONTROL}")
"""What a run inside that of a seed takes over."""


@dataclass(frozen=True)
class Row:
    objective: str
    outliers: str = "dog"
    variant: str = ""


BASELINES = ("ce", "ce, as many images")
ROWS = {
    BASELINES[0]: Row(START),
    BASELINES[1]: Row(START, variant=LONGER),
    "oe+noise": Row("oe", "noise"),
    "oe+textual-near-ood": Row("oe", "textual-near-ood"),
    "dog+textual-near-ood": Row("dog", "textual-near-ood"),
    "oe": Row("oe"),
    "dog": Row("dog"),
    "oe, painted ID beside": Row("oe", variant=PAINTED),
    "dog, painted ID beside": Row("dog", variant=PAINTED),
    "oe+real": Row("oe", REAL),
    "dog+real": Row("dog", REAL),
}


def config_of(world: World, seed: int, row: Row) -> RunConfig:
    config = world.config(seed, row.objective, row.outliers)
    if row.variant == PAINTED:
        return config.with_values({"training": {"id_synthetic": PAINTED_ID}}, "benchmark")
    return _longer(config) if row.variant == LONGER else config


def _longer(config: RunConfig) -> RunConfig:
    """The starting classifier, until it has seen as many images as it and a tuning see together."""
    images = len(load_id(config.data).train)
    epochs = config.training.pretrain_epochs * passes_given(config, images) / passes_of(config, images)
    return config.with_values({"training": {"pretrain_epochs": round(epochs)}}, "benchmark")


# --- one seed ---------------------------------------------------------------------------------------------------
@contextmanager
def prepared(world: World, seed: int, events: Events) -> Iterator[Run]:
    """The run of a seed with anchors, DOG's outliers, painted ID images and real ones: all that an evaluation may look at."""
    world.prepare()
    config = world.config(seed)
    with launch(world.of_seed(seed), config.to_toml()) as run:
        run_generate(config.with_values({"synthesis": fields_of("dog")}, "benchmark"), run, events)
        run_id_control(config_of(world, seed, Row("dog", variant=PAINTED)), run, events)
        world.write_real(seed, run)
        yield run


def run_seed(world: World, seed: int, events: Events) -> None:
    with prepared(world, seed, events) as run:
        for variant in dict.fromkeys(row.variant for row in ROWS.values()):
            configs = [config_of(world, seed, row) for row in ROWS.values() if row.variant == variant]
            with _run_of(world, seed, variant, configs[0], run, events) as own:
                complete_all([Cell(config, own) for config in configs], f"seed {seed} {variant}".strip(), events)


@contextmanager
def _run_of(world: World, seed: int, variant: str, config: RunConfig, run: Run, events: Events) -> Iterator[Run]:
    if not variant:
        yield run
        return
    with run_at(world.of_seed(seed, variant), config, run) as own:
        if variant == LONGER:
            run_train(config, own, events)  # before anything is taken over, lest the seed's own `ce` is
        take_over(run, own, config, (*SHARED, "synthesis/dog"))
        yield own


def complete_all(cells: list[Cell], what: str, events: Events) -> None:
    """Train and evaluate those that do not stand; raises why one cannot be."""
    for _, fault in completed([cell for cell in cells if not stands(cell)], what, machine_cores(), events):
        if fault:
            raise fault


# --- all seeds --------------------------------------------------------------------------------------------------
def run_rows(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    for seed in seeds:
        run_seed(world, seed, events)
    folders = {
        name: [
            Run(world.of_seed(seed, row.variant)).evaluation(classifier_name(config_of(world, seed, row).training))
            for seed in seeds
        ]
        for name, row in ROWS.items()
    }
    return {
        "seeds": seeds,
        "order": list(folders),
        "strangers": compare(folders, BASELINES, (STRANGERS,), "oe+real"),
        "everywhere": compare(folders, BASELINES, (STRANGERS, *FAR), "oe+real"),
        "anchors": {seed: _anchors(Run(world.of_seed(seed))) for seed in seeds},
        "outliers": world.config(seeds[0]).synthesis.m,
        "id_images": world.config(seeds[0]).data.id_images,
    }


def _anchors(run: Run) -> dict[str, list[str]]:
    """The words of every class."""
    found: dict[str, list[str]] = {}
    for row in read_jsonl(run.anchors):
        found.setdefault(row["class_name"], []).append(row["word"])
    return found
