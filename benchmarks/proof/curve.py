"""FPR95 against the number of outliers, in one seed, at equal steps: DOG's, words' alone, real ones, and latents under `oal`."""

from __future__ import annotations

from typing import Any

import torch
from comparison import compare
from proof.rows import prepared
from proof.world import FAR, REAL, STRANGERS, World
from tuning import few, score, tuned

from dogfast.config.synthesis import fields_of
from dogfast.config.training import START
from dogfast.data.catalogue import IdData, load_id, named_ood
from dogfast.detection.measure import load_sets
from dogfast.events import Events
from dogfast.run import Run
from dogfast.seeds import stream
from dogfast.training.batches import Held
from dogfast.training.names import start_name
from dogfast.training.sources import source_of, training_outliers
from dogfast.workflows.chain import run_generate

COUNTS = (100, 300, 1000)
"""And as many as every source has."""
SOURCES = {
    "DOG": ("dog", "dog"),
    "textual near-OOD": ("dog", "textual-near-ood"),
    "real": ("dog", REAL),
    "latents, `oal`": ("oal", "dog"),
}
"""Objective and outliers of every line."""


def run_curve(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    seed = seeds[0]
    root = world.of_seed(seed) / "curve"
    with prepared(world, seed, events) as run:
        config = world.config(seed, "dog")
        data = load_id(config.data)
        sets = load_sets(config, run, data, named_ood(config.detection.ood, config.data))
        held = {name: _outliers(world, seed, name, run, data, events) for name in SOURCES}
        counts = [*COUNTS, min(len(outliers.rows) for outliers in held.values())]
        for count in counts:
            for name, (objective, outliers) in SOURCES.items():
                folder = root / str(count) / name
                if not (folder / "metrics.json").exists():
                    own = world.config(seed, objective, outliers)
                    model = tuned(own, run, data, few(held[name], count), events, f"{name} {count}")
                    score(model, sets, config, folder)
    lines = {f"{name} {count}": [root / str(count) / name] for count in counts for name in SOURCES}
    folders = {START: [Run(world.of_seed(seed)).evaluation(start_name(config.training))], **lines}
    return {
        "counts": counts,
        "lines": list(SOURCES),
        "strangers": compare(folders, (START,), (STRANGERS,)),
        "everywhere": compare(folders, (START,), (STRANGERS, *FAR)),
    }


def _outliers(world: World, seed: int, name: str, run: Run, data: IdData, events: Events) -> Held:
    """All that may train; files, which come class by class, in an order of the seed."""
    objective, outliers = SOURCES[name]
    config = world.config(seed, objective, outliers)
    if outliers == REAL:
        found = training_outliers(config, run, data, events)
        order = torch.randperm(len(found.rows), generator=stream(seed, "order of files"))
        return Held(found.rows[order], *found.seed)
    run_generate(config.with_values({"synthesis": fields_of(source_of(config.training))}, "benchmark"), run, events)
    return training_outliers(config, run, data, events)
