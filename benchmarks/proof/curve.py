"""FPR95 against the number of outliers, in one seed, at equal steps: DOG's, words' alone, real ones, and latents under `oal`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from comparison import compare
from proof.rows import BASELINES, ROWS, evaluation_of, loaded, prepared, vary
from proof.world import FAR, REAL, STRANGERS, World
from tuning import few, measured, tuned

from dogfast.data.catalogue import IdData
from dogfast.events import Events
from dogfast.run import Run
from dogfast.seeds import stream
from dogfast.training.batches import Held
from dogfast.training.sources import training_outliers
from dogfast.workflows.chain import prepare_training

COUNTS = (100, 1000, 3000)
"""And as many as every source has."""
SOURCES = {
    "DOG": ("dog", "dog"),
    "textual near-OOD": ("dog", "textual-near-ood"),
    "real": ("dog", REAL),
    "latents, `oal`": ("oal", "dog"),
}
"""Objective and outliers of every line."""
NONE = BASELINES[1]


def run_curve(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    seed = seeds[0]
    root = world.of_seed(seed) / "curve"
    with prepared(world, seed, events) as run:
        config = world.config(seed, "dog")
        data, sets = loaded(config, run)
        vary(world, seed, NONE, ROWS[NONE], run, events)
        held = {name: _outliers(world, seed, name, run, data(), events) for name in SOURCES}
        counts = [*COUNTS, min(len(outliers.rows) for outliers in held.values())]
        for count in counts:
            for name, (objective, outliers) in SOURCES.items():
                own, title = world.config(seed, objective, outliers), f"{name} {count}"
                some = few(held[name], count)
                model = partial(tuned, own, run, data(), some, events, title)
                measured(root / str(count) / name, own, run, sets, model)
    lines = {f"{name} {count}": [root / str(count) / name] for count in counts for name in SOURCES}
    folders = {NONE: [evaluation_of(world, seed, ROWS[NONE])], **lines}
    return {
        "none": NONE,
        "counts": counts,
        "lines": list(SOURCES),
        "strangers": compare(folders, (NONE,), (STRANGERS,)),
        "everywhere": compare(folders, (NONE,), (STRANGERS, *FAR)),
    }


def _outliers(world: World, seed: int, name: str, run: Run, data: IdData, events: Events) -> Held:
    """All that may train, in an order of the seed: the first are of all classes and words alike."""
    config = world.config(seed, *SOURCES[name])
    prepare_training(config, run, events)
    found = training_outliers(config, run, data, events)
    order = torch.randperm(len(found.rows), generator=stream(seed, "order of the curve"))
    return Held(found.rows[order], *found.seed, id_latents=found.id_latents)
