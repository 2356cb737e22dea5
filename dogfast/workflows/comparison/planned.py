"""What a comparison would still do: its cells with what is done of each, images to paint, and how long by what was measured."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

from dogfast.classifiers.loading import RECORD_FILE
from dogfast.config import RunConfig
from dogfast.config.synthesis import fields_of
from dogfast.errors import DogfastError
from dogfast.events import Events
from dogfast.reporting.inputs import is_number
from dogfast.run import METRICS_FILE, Run, read_json
from dogfast.shards.format import ID_CONTROL
from dogfast.text import first_line
from dogfast.training.sources import painted_source
from dogfast.workflows.chain import check_train, id_control_config
from dogfast.workflows.comparison.cells import Cell, stands
from dogfast.workflows.comparison.passes import passes_of
from dogfast.workflows.plans import UNKNOWN_TIME, plan_generate

STANDS, TRAINED, LEFT = "stands", "to be evaluated", "to be trained"


def cell_state(cell: Cell) -> str:
    """`STANDS`, `TRAINED`, `LEFT`, or why it would fail."""
    try:
        if stands(cell):
            return STANDS
        check_train(cell.config, cell.run)
    except DogfastError as error:
        return f"would fail: {first_line(error)}"
    return TRAINED if cell.trained else LEFT


def plan_cells(named: list[tuple[str, Cell]], id_images: int, events: Events) -> dict[str, Any]:
    """Every cell with its state and the images it is trained on (those through the network), and what all need together.

    Images to paint are at most so many: a swept value takes over what others painted. Seconds are by what classifiers,
    evaluations and shards took so far, where there are some of each.
    """
    cells = [cell for _, cell in named]
    states = [cell_state(cell) for cell in cells]
    passes = [round(passes_of(cell.config, id_images)) for cell in cells]
    left = [cell for cell, state in zip(cells, states) if state == LEFT]
    painting = [
        plan_generate(config, run, Events() if number else events) for number, (config, run) in enumerate(_sources(left))
    ]
    to_train = sum(images for images, state in zip(passes, states) if state == LEFT)
    to_evaluate = sum(state in (TRAINED, LEFT) for state in states)
    return {
        "cells": [
            {"seed": cell.config.training.train_seed, "name": name, "state": state, "images": images}
            for (name, cell), state, images in zip(named, states, passes)
        ],
        "images_to_train": to_train,
        "classifiers_to_evaluate": to_evaluate,
        "images_to_paint": sum(plan["images_left"] for plan in painting),
        "bytes": sum(plan["bytes"] for plan in painting),
        "seconds": _seconds(cells, passes, to_train, to_evaluate, painting),
    }


def _sources(left: list[Cell]) -> list[tuple[RunConfig, Run]]:
    """What has to be painted for the cells that are to be trained, each source of a run once."""
    found: dict[tuple[Path, str], tuple[RunConfig, Run]] = {}
    for cell in left:
        source, controlled = painted_source(cell.config.training), cell.config.training.id_synthetic > 0
        if source and (cell.run.root, source) not in found:
            config = cell.config.with_values({"synthesis": fields_of(source)}, "--outliers")
            found[cell.run.root, source] = config, cell.run
        if controlled and (cell.run.root, ID_CONTROL) not in found:
            found[cell.run.root, ID_CONTROL] = id_control_config(cell.config), cell.run
    return list(found.values())


def _seconds(
    cells: list[Cell], passes: list[int], to_train: int, to_evaluate: int, painting: list[dict[str, Any]]
) -> float | str:
    """What is left at the rates of what is done; `UNKNOWN_TIME` where nothing of a kind is."""
    trained = [
        (images, _took(cell.run.classifier(cell.name) / RECORD_FILE)) for cell, images in zip(cells, passes) if cell.trained
    ]
    evaluated = [_took(path) for cell in cells if (path := cell.evaluation / METRICS_FILE).exists()]
    painted = [plan["seconds"] for plan in painting if plan["images_left"]]
    if (to_train and not trained) or (to_evaluate and not evaluated) or UNKNOWN_TIME in painted:
        return UNKNOWN_TIME
    training = to_train * sum(seconds for _, seconds in trained) / sum(images for images, _ in trained) if to_train else 0.0
    return round(sum(painted) + training + (to_evaluate * mean(evaluated) if to_evaluate else 0.0), 1)


def _took(path: Path) -> float:
    found = read_json(path)
    seconds = found.get("seconds") if isinstance(found, dict) else None
    return float(seconds) if is_number(seconds) else 0.0
