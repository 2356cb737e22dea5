"""The best of several trainings by validation images alone: `dogfast train --tune lr=0.001,0.01 --tune oe_weight=0.5,1`.

Every combination is trained; judged is FPR95 between the validation images of the ID classes and the validation outliers,
which no training sees, meaned over the scores of ``--scores``. Test sets are never looked at.
"""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, accuracy, collect_evidence, images_together
from dogfast.classifiers.loading import is_trained, load_classifier, save_classifier
from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.config.resolve import SECTION_OF, parse_assignment
from dogfast.data.catalogue import IdData, load_id
from dogfast.detection.fitting import fitted
from dogfast.detection.measure import learn, validation_outliers
from dogfast.detection.scores import bound_scores, moves
from dogfast.detection.table import evaluate_scores
from dogfast.environment import choose_device, choose_training_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, has_fields, publish, read_json, refuse_difference, to_json
from dogfast.training.names import classifier_name
from dogfast.training.ranks import ALONE, Ranks
from dogfast.training.stage import train

TUNABLE = ("training", "objectives")
ACCURACY_GIVEN_UP = 0.01
"""Of the best validation accuracy: a candidate that loses more is not chosen."""
TUNE_FILE = "tune.json"


def candidates(config: RunConfig) -> list[RunConfig]:
    """``config`` with every combination of the values of ``--tune``; :class:`UsageError` for what is no field or value."""
    grid = [_choices(entry) for entry in config.training.tune]
    plain = config.with_values({"training": {"tune": ()}}, "--tune")
    found = []
    for chosen in itertools.product(*grid):
        values: dict[str, dict[str, Any]] = {}
        for section, name, value in chosen:
            values.setdefault(section, {})[name] = value
        found.append(plain.with_values(values, "--tune"))
    return found


def _choices(entry: str) -> list[tuple[str, str, Any]]:
    name, equals, texts = entry.partition("=")
    field = name.strip().replace("-", "_")
    section = SECTION_OF.get(field)
    require(bool(equals and texts) and section in TUNABLE, f"--tune {entry!r} is not FIELD=VALUE,VALUE of a training's field")
    values = [parse_assignment(f"{section}.{field}={text.strip()}")[section][field] for text in texts.split(",")]
    return [(section, field, value) for value in values]


def tune(config: RunConfig, run: Run, events: Events, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Train every candidate, keep the best as `classifiers/<name>/` with `tune.json` beside it; what stands is not trained again.

    The run remembers the values that were chosen. Raises :class:`DataError` where the run holds no validation outliers.
    """
    name = classifier_name(config.training)
    folder, tried = run.classifier(name), candidates(config)
    if is_trained(folder):
        return train(_standing(config, folder, tried), run, events, ranks)
    data = load_id(config.data)
    outliers = _validation(config, run, data)
    places = [folder / "tune" / str(number) for number in range(len(tried))]
    for candidate, place in zip(tried, places):
        train(candidate, run, events, ranks, place)
    rows = [judged_on_validation(candidate, place, data, outliers) for candidate, place in zip(tried, places)]
    best = choose(rows)
    for row, candidate in zip(rows, tried):
        row["values"] = _values(candidate, config)
    events.say(f"{name}: {_said(rows[best]['values'])} has the lowest FPR95 on validation images of {len(rows)} candidates")
    model, facts = load_classifier(places[best])
    publish(folder / TUNE_FILE, to_json({"asked": config.training.tune, "chosen": best, "candidates": rows}))
    save_classifier(folder, model, {key: value for key, value in facts.items() if key != "sha256"})
    shutil.rmtree(folder / "tune")
    run.remembers = tried[best].to_toml()
    return train(tried[best], run, events, ranks)


def _standing(config: RunConfig, folder: Path, tried: list[RunConfig]) -> RunConfig:
    """The candidate that was chosen when ``folder`` was tuned; RunMismatch where it was not, or among others."""
    found = read_json(folder / TUNE_FILE) if (folder / TUNE_FILE).exists() else {"asked": [], "chosen": 0}
    if not has_fields(found, {"asked": list, "chosen": int}):
        raise DataError(f"{folder / TUNE_FILE} does not say what was chosen; remove {folder} to tune it anew")
    refuse_difference(
        str(folder), {"tune": found["asked"]}, {"tune": list(config.training.tune)}, f"remove {folder} to tune it anew"
    )
    if not 0 <= found["chosen"] < len(tried):
        raise DataError(f"{folder / TUNE_FILE}: there is no candidate {found['chosen']}; remove {folder} to tune it anew")
    return tried[found["chosen"]]


def choose(rows: list[dict[str, Any]], accuracy: float | None = None) -> int:
    """The row of lowest ``fpr95`` among those that give up at most :data:`ACCURACY_GIVEN_UP` of ``accuracy``, which one of them has
    (None: the best of them); the first of equals."""
    least = (max(row["accuracy"] for row in rows) if accuracy is None else accuracy) - ACCURACY_GIVEN_UP
    return min(
        (number for number, row in enumerate(rows) if row["accuracy"] >= least), key=lambda number: rows[number]["fpr95"]
    )


def judged_on_validation(config: RunConfig, place: Path, data: IdData, outliers: torch.Tensor) -> dict[str, Any]:
    """``accuracy`` and ``fpr95``, meaned over the scores, in [0, 1], of the classifier at ``place`` on the validation images of ``data``
    against ``outliers``, uint8 (n, 3, H, W)."""
    model, _ = load_classifier(place)
    device = choose_device(config.model.device).value
    precision = choose_training_precision(config.training.train_precision, device).value
    model.to(device)
    together = images_together(config.data.image_px)

    def look(images: torch.Tensor, *magnitudes: float) -> Evidence:
        return collect_evidence(model, images, together, device, precision, magnitudes=magnitudes)

    scores = config.detection.scores
    states, _ = learn(look, data.train if fitted(scores) else None, None, config.detection, device)
    known, unknown = (look(images, *moves(states)) for images in (data.validation.images, outliers))
    bound = bound_scores(scores, states, device)
    rows, _ = evaluate_scores(known, {"validation": unknown}, {"validation": "near"}, bound)
    return {"accuracy": accuracy(known, data.validation.labels), "fpr95": mean(row["fpr95"] for row in rows)}


def _validation(config: RunConfig, run: Run, data: IdData) -> torch.Tensor:
    """Outliers to choose on. Raises :class:`DataError` where there are none."""
    outliers = validation_outliers(config, run, data)
    if outliers is None:
        raise DataError("there are no outliers of validation words to choose on; generate more of them, or leave --tune out")
    return outliers


def _values(candidate: RunConfig, config: RunConfig) -> dict[str, Any]:
    """What ``--tune`` set of ``candidate``."""
    names = [entry.partition("=")[0].strip().replace("-", "_") for entry in config.training.tune]
    return {name: getattr(getattr(candidate, SECTION_OF[name]), name) for name in names}


def _said(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
