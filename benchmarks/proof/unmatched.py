"""What the codec gives away, in one seed: rows trained and judged on images that were not passed through the ID files' codec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from comparison import compare
from proof.rows import ROWS, Row, config_of, loaded, prepared
from proof.world import FAR, STRANGERS, World
from tuning import measured, starting_classifier, tuned

from dogfast.config import RunConfig
from dogfast.config.training import START
from dogfast.data.catalogue import IdData
from dogfast.detection.measure import Sets
from dogfast.events import Events
from dogfast.run import Run
from dogfast.training.sources import training_outliers
from dogfast.workflows.chain import prepare_training

UNMATCHED = {name: row for name, row in ROWS.items() if not row.variant}


def run_unmatched(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    seed = seeds[0]
    root = world.of_seed(seed) / "unmatched"
    with prepared(world, seed, events) as run:
        config = as_it_is(world, seed, UNMATCHED["ce"])
        data, sets = loaded(config, run)
        for name, row in UNMATCHED.items():
            _measure(as_it_is(world, seed, row), name, run, data, sets, events, root / name)
    folders = {name: [root / name] for name in UNMATCHED}
    return {
        "order": list(UNMATCHED),
        "strangers": compare(folders, ("ce",), (STRANGERS,)),
        "everywhere": compare(folders, ("ce",), (STRANGERS, *FAR)),
    }


def as_it_is(world: World, seed: int, row: Row) -> RunConfig:
    """Without the codec; all under the scores of the tuned rows, for which ``sets`` are loaded once."""
    values = {"data": {"match_codec": "none"}, "detection": {"scores": world.config(seed, "dog").detection.scores}}
    return config_of(world, seed, row).with_values(values, "benchmark")


def _measure(
    config: RunConfig, name: str, run: Run, data: Callable[[], IdData], sets: Callable[[], Sets], events: Events, folder: Path
) -> None:
    def model() -> torch.nn.Module:
        if config.training.objective == START:
            return starting_classifier(config, run)
        return tuned(config, run, data(), training_outliers(config, run, data(), events), events, name)

    prepare_training(config, run, events)
    measured(folder, config, run, sets, model)
