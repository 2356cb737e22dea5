"""A cell of a comparison: one classifier of one run, trained and evaluated. What stands is not done again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogfast.classifiers.loading import RECORD_FILE, is_trained
from dogfast.config import RunConfig
from dogfast.config.option import identity
from dogfast.config.synthesis import fields_of
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import METRICS_FILE, Run, file_digest, publish, read_json, to_json
from dogfast.training.names import classifier_name
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.sources import painted_source, source_digest, source_of
from dogfast.workflows.chain import run_evaluate, run_generate, run_train, train_prepared

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Cell:
    """``config`` says what is trained, on which outliers, and under which scores and on which sets it is judged."""

    config: RunConfig
    run: Run

    @property
    def name(self) -> str:
        return classifier_name(self.config.training)

    @property
    def evaluation(self) -> Path:
        return self.run.evaluation(self.name)

    @property
    def trained(self) -> bool:
        return is_trained(self.run.classifier(self.name))


def stands(cell: Cell) -> bool:
    """Whether the classifier was evaluated as ``cell`` says, and neither it nor its figures have changed since.

    An evaluation under further scores stands too. One that no comparison made does not: nothing tells what it was made with.
    """
    if not (cell.trained and (cell.evaluation / METRICS_FILE).exists()):
        return False
    try:
        found = read_json(cell.evaluation / SETTINGS_FILE)
    except DataError:
        return False
    scores = found.pop("scores", None) if isinstance(found, dict) else None
    known = isinstance(scores, list) and all(score in scores for score in cell.config.detection.scores)
    return known and found == _settings(cell)


def complete(cell: Cell, events: Events) -> None:
    """Train and evaluate, each with what is missing before it; raises what `run_train` and `run_evaluate` raise.

    A source with fewer outliers than the others is first brought to their m; a classifier that learned from fewer is then refused.
    `settings.json` is written last and commits the evaluation.
    """
    if stands(cell):
        return
    bring_source(cell, events)
    run_train(cell.config, cell.run, events)
    _evaluate(cell, events)


def complete_prepared(cell: Cell, events: Events) -> None:
    """`complete` for who has brought its source, prepared its training, and holds the run's."""
    train_prepared(cell.config, cell.run, events)
    _evaluate(cell, events)


def bring_source(cell: Cell, events: Events) -> None:
    """Paint what the classifier learns from, up to the m of all."""
    source = painted_source(cell.config.training)
    if source:
        run_generate(cell.config.with_values({"synthesis": fields_of(source)}, "--outliers"), cell.run, events)


def _evaluate(cell: Cell, events: Events) -> None:
    run_evaluate(cell.config, cell.run, events)
    publish(cell.evaluation / SETTINGS_FILE, to_json(_settings(cell) | {"scores": cell.config.detection.scores}))


def _settings(cell: Cell) -> dict[str, Any]:
    """All that the figures depend on, but the scores; in plain JSON types."""
    config, brings = cell.config, OBJECTIVES[cell.config.training.objective].brings
    fields = {section.name: identity(getattr(config, section.name)) for section in dataclasses.fields(config)}
    fields["detection"].pop("scores")
    return fields | {
        "m": config.synthesis.m,
        "outliers": source_digest(cell.run, source_of(config.training)) if brings else "",
        "classifier": file_digest(cell.run.classifier(cell.name) / RECORD_FILE),
        "metrics": file_digest(cell.evaluation / METRICS_FILE),
    }
