"""Over seeds: what DOG's outliers bring beside none, noise, words alone and real photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from comparison import compare
from proof.world import FAR, PAINTED_ID, REAL, STRANGERS, World
from tuning import further, measured, tuned

from dogfast.config import RunConfig
from dogfast.config.synthesis import fields_of
from dogfast.config.training import START
from dogfast.data.catalogue import IdData, load_id, named_ood
from dogfast.data.files import list_image_files
from dogfast.detection.measure import Sets, load_sets
from dogfast.environment import machine_cores
from dogfast.events import Events
from dogfast.run import Run, launch, read_jsonl
from dogfast.shards.format import ID_CONTROL
from dogfast.training.names import classifier_name
from dogfast.training.regimes import regime_of
from dogfast.training.sources import training_outliers
from dogfast.workflows.chain import run_generate, run_id_control
from dogfast.workflows.comparison.cells import Cell, stands
from dogfast.workflows.comparison.jobs import completed

FURTHER, REAL_ID, GENTLER = "further", "real-id-alone", "gentler"
SHARED = ("concepts", f"synthesis/{ID_CONTROL}")
"""What a run beside that of a seed takes over."""


@dataclass(frozen=True)
class Row:
    """One classifier. ``variant``: what no command makes of the seed's starting classifier, if it is that: as many steps more on ID images
    alone (`FURTHER`), steps without painted ID images beside the real ones (`REAL_ID`), or half the outlier loss of its paper and none
    of its largest perturbations (`GENTLER`)."""

    objective: str
    outliers: str = "dog"
    variant: str = ""


BASELINES = ("ce", "ce, as many steps more")
ROWS = {
    BASELINES[0]: Row(START),
    BASELINES[1]: Row(START, variant=FURTHER),
    "oe+noise": Row("oe", "noise"),
    "dog+textual-near-ood": Row("dog", "textual-near-ood"),
    "oe": Row("oe"),
    "dog": Row("dog"),
    "dog, gentler": Row("dog", variant=GENTLER),
    "oe+real": Row("oe", REAL),
}


def config_of(world: World, seed: int, row: Row) -> RunConfig:
    config = world.config(seed, row.objective, row.outliers)
    regime = regime_of(config.training, config.objectives, config.data.classes)
    real_a_step = round(regime.batch * (1 - PAINTED_ID))
    values = {
        REAL_ID: {"training": {"id_synthetic": 0.0, "batch": real_a_step}},
        GENTLER: {
            "training": {"oe_weight": regime.oe_weight / 2},
            "objectives": {"wor_strengths": config.objectives.wor_strengths[1:]},
        },
    }
    return config.with_values(values.get(row.variant, {}), "benchmark")


# --- one seed ---------------------------------------------------------------------------------------------------
@contextmanager
def prepared(world: World, seed: int, events: Events) -> Iterator[Run]:
    """The run of a seed with all that others stand on: anchors, DOG's outliers, painted ID images, real ones, `ce`."""
    world.prepare()
    config = world.config(seed)
    with launch(world.of_seed(seed), config.to_toml()) as run:
        run_generate(config.with_values({"synthesis": fields_of("dog")}, "benchmark"), run, events)
        run_id_control(world.config(seed, "dog"), run, events)
        world.write_real(seed, run)
        complete_all([Cell(config, run)], f"seed {seed}", events)
        yield run


def run_seed(world: World, seed: int, rows: dict[str, Row], events: Events) -> None:
    with prepared(world, seed, events) as run:
        cells = [Cell(config_of(world, seed, row), run) for row in rows.values() if not row.variant]
        complete_all(cells, f"seed {seed}", events)
        for name, row in rows.items():
            if row.variant:
                vary(world, seed, name, row, run, events)


def vary(world: World, seed: int, name: str, row: Row, run: Run, events: Events) -> None:
    """Measure a variant, which no command makes."""
    config = config_of(world, seed, row)
    data, sets = loaded(config, run)

    def model() -> torch.nn.Module:
        if row.variant == FURTHER:
            return further(config, run, data(), events, name)
        return tuned(config, run, data(), training_outliers(config, run, data(), events), events, name)

    measured(evaluation_of(world, seed, row), config, run, sets, model)


def loaded(config: RunConfig, run: Run) -> tuple[Callable[[], IdData], Callable[[], Sets]]:
    """The ID images and the test sets, each read when it is first asked for."""
    data = cache(lambda: load_id(config.data))
    return data, cache(lambda: load_sets(config, run, data(), named_ood(config.detection.ood, config.data)))


def complete_all(cells: list[Cell], what: str, events: Events) -> None:
    """Train and evaluate those that do not stand; raises why one cannot be."""
    for _, fault in completed([cell for cell in cells if not stands(cell)], what, machine_cores(), events):
        if fault:
            raise fault


# --- all seeds --------------------------------------------------------------------------------------------------
def run_rows(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    runs = {seed: Run(world.of_seed(seed)) for seed in seeds}
    found = compare_rows(world, seeds, ROWS, events)
    return found | {
        "anchors": {seed: _anchors(run) for seed, run in runs.items()},
        "real_images": {seed: len(list_image_files(world.real(seed))) for seed in seeds},
    }


def compare_rows(world: World, seeds: list[int], rows: dict[str, Row], events: Events) -> dict[str, Any]:
    for seed in seeds:
        run_seed(world, seed, rows, events)
    folders = {name: [evaluation_of(world, seed, row) for seed in seeds] for name, row in rows.items()}
    return {
        "seeds": seeds,
        "order": list(folders),
        "strangers": compare(folders, BASELINES, (STRANGERS,), "oe+real"),
        "everywhere": compare(folders, BASELINES, (STRANGERS, *FAR), "oe+real"),
        "outliers": world.config(seeds[0]).synthesis.m,
        "id_images": world.config(seeds[0]).data.id_images,
        "id_synthetic": world.config(seeds[0]).training.id_synthetic,
    }


def evaluation_of(world: World, seed: int, row: Row) -> Path:
    name = classifier_name(config_of(world, seed, row).training)
    return world.of_seed(seed, row.variant) / name if row.variant else Run(world.of_seed(seed)).evaluation(name)


def _anchors(run: Run) -> dict[str, list[str]]:
    """The words of every class."""
    found: dict[str, list[str]] = {}
    for row in read_jsonl(run.anchors):
        found.setdefault(row["class_name"], []).append(row["word"])
    return found
