"""Runs inside a run: those of other seeds and of swept values, and what they may take over from the run around them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dogfast.classifiers.loading import is_trained
from dogfast.config import RunConfig
from dogfast.run import Run, launch
from dogfast.shards.reader import has_shards
from dogfast.training.names import baseline_name
from dogfast.workflows.comparison.settings import of_seed, seed_place


@contextmanager
def run_of_seed(config: RunConfig, run: Run, seed: int) -> Iterator[tuple[RunConfig, Run]]:
    """The run of ``seed`` and its configuration: ``run`` itself for its own seed."""
    place, seeded = seed_place(run.root, config, seed), of_seed(config, seed)
    if place == run.root:
        yield seeded, run
    else:
        with run_at(place, seeded, run) as other:
            yield seeded, other


@contextmanager
def run_at(place: Path, config: RunConfig, run: Run) -> Iterator[Run]:
    """The run at ``place`` for as long as ``run`` is held."""
    with launch(place, config.to_toml()) as inner:
        inner.say = run.say
        yield inner


def take_over(source: Run, target: Run, config: RunConfig, stages: tuple[str, ...]) -> None:
    """Copy the starting classifier, and what the ``stages`` left, from ``source`` into a run that has not begun them.

    Stages are called as `run.json` calls them: `concepts`, or `synthesis/` and a source. What is missing, or lies at a store,
    is left to the stage itself.
    """
    baseline = baseline_name(config.training)
    if is_trained(source.classifier(baseline)) and not is_trained(target.classifier(baseline)):
        _copy(source.classifier(baseline), target.classifier(baseline))
    known = source.state["stages"]
    for stage in stages:
        places = _places(source, stage)
        if stage in known and stage not in target.state["stages"] and places:
            for place in places:
                _copy(place, target.root / place.relative_to(source.root))
            target.claim(stage, known[stage], has_results=False)


def _places(run: Run, stage: str) -> list[Path]:
    """The folders of a finished stage; none where it is not finished, or at a store."""
    if stage == "concepts":
        return [run.concepts] if run.conditions.exists() else []
    name = stage.removeprefix("synthesis/")
    here = not run.store_file.exists() and has_shards(run.outliers(name))
    return [run.plan(name), run.store / name] if here else []


def _copy(source: Path, target: Path) -> None:
    """``target`` becomes a copy of the folder ``source``, whole or not at all."""
    part = target.with_name(f".{target.name}.copying")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
