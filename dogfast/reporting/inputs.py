"""What the stages before left in the run folder, checked: the report trusts neither its numbers nor its names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dogfast.errors import DataError
from dogfast.run import Run, read_json

BASELINE = "ce"
ORDER = (BASELINE, "oe+noise", "oe", "dog")
SCORE_NAMES = {
    "msp": "MSP",
    "maxlogit": "MaxLogit",
    "energy": "Energy",
    "odin": "ODIN",
    "ash-s": "ASH-S",
    "ash-b": "ASH-B",
    "ash-p": "ASH-P",
    "react": "ReAct",
    "scale": "SCALE",
    "mahalanobis": "Mahalanobis",
    "knn": "k-NN",
    "vim": "ViM",
    "rejection": "Rejection",
}


@dataclass(frozen=True)
class Result:
    """One score on one OOD set; ``fpr95`` and ``auroc`` are fractions."""

    score: str
    dataset: str
    group: str
    fpr95: float
    auroc: float
    n_id: int
    n_ood: int


@dataclass(frozen=True)
class Evaluation:
    """One `metrics.json`; ``scores`` is the folder of its raw scores, which may be absent."""

    name: str
    objective: str
    id_accuracy: float
    results: tuple[Result, ...]
    chosen: str
    """The hyper-parameters of scores that were chosen, and why, in words."""
    scores: Path
    control: tuple[tuple[str, float], ...] = ()
    """By score, the share of ID-class images painted by the generator that is called OOD."""

    def result(self, score: str, dataset: str) -> Result | None:
        return next((r for r in self.results if (r.score, r.dataset) == (score, dataset)), None)


@dataclass(frozen=True)
class Training:
    """What `train.json` tells: epochs, seconds and the cross-entropy by epoch; each may be absent."""

    name: str
    epochs: int
    seconds: float | None
    losses: tuple[float, ...]


# --- evaluations ------------------------------------------------------------------------------------------------
def read_evaluations(run: Run) -> list[Evaluation]:
    """Every evaluated classifier, the baseline first. Raises :class:`DataError` for a file that is not as written."""
    found = (run.root / "evaluation").glob("*/metrics.json")
    return sorted((_evaluation(path) for path in found), key=lambda evaluation: display_order(evaluation.name))


def display_order(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def score_label(score: str) -> str:
    return SCORE_NAMES.get(score, score)


def scores_of(evaluations: list[Evaluation]) -> list[str]:
    """Names of the scores, in order of first appearance."""
    return list(dict.fromkeys(result.score for evaluation in evaluations for result in evaluation.results))


def datasets_of(evaluations: list[Evaluation]) -> dict[str, str]:
    """Group by OOD set, in order of first appearance."""
    groups: dict[str, str] = {}
    for evaluation in evaluations:
        for result in evaluation.results:
            groups.setdefault(result.dataset, result.group)
    return groups


def _evaluation(path: Path) -> Evaluation:
    metrics = read_json(path)
    if not isinstance(metrics, dict) or not isinstance(metrics.get("rows"), list):
        raise DataError(f"{path} holds no rows; remove it and run `dogfast evaluate` again")
    control = metrics.get("artefact_control", [])
    if not isinstance(control, list):
        raise DataError(f"{path}: the artefact control is no list; remove the file and run `dogfast evaluate` again")
    name = path.parent.name
    return Evaluation(
        name=name,
        objective=str(metrics.get("objective") or objective_of(name)),
        id_accuracy=_fraction(metrics, "id_accuracy", path),
        results=tuple(_result(row, path) for row in metrics["rows"]),
        chosen=_chosen(metrics.get("hyper_parameters", {}), path),
        scores=path.parent / "scores",
        control=tuple(_control(row, path) for row in control),
    )


def _chosen(found: Any, path: Path) -> str:
    if not isinstance(found, dict) or not all(isinstance(choice, dict) for choice in found.values()):
        raise DataError(f"{path}: the hyper-parameters are no object; remove the file and run `dogfast evaluate` again")
    return "; ".join(
        f"{text_of(choice, 'name', path)} of {score_label(score)}: {number_of(choice, 'value', path):g} ({text_of(choice, 'reason', path)})"
        for score, choice in found.items()
    )


def _control(row: Any, path: Path) -> tuple[str, float]:
    if not isinstance(row, dict):
        raise DataError(f"{path}: a row of the artefact control is no object; remove the file and run `dogfast evaluate` again")
    return text_of(row, "score", path), _fraction(row, "called_ood", path)


def objective_of(name: str) -> str:
    """`dog+renders@1` was trained with `dog`."""
    return re.split(r"[+@]", name, maxsplit=1)[0]


def _result(row: Any, path: Path) -> Result:
    if not isinstance(row, dict):
        raise DataError(f"{path}: a row is no object; remove the file and run `dogfast evaluate` again")
    return Result(
        score=text_of(row, "score", path),
        dataset=text_of(row, "dataset", path),
        group=str(row.get("group") or ""),
        fpr95=_fraction(row, "fpr95", path),
        auroc=_fraction(row, "auroc", path),
        n_id=_count(row, "n_id", path),
        n_ood=_count(row, "n_ood", path),
    )


# --- raw scores -------------------------------------------------------------------------------------------------
def read_scores(evaluation: Evaluation, score: str) -> dict[str, np.ndarray] | None:
    """Scores by data set (`id` among them), float (n,), larger = more ID; None where they were not kept.

    The file is looked up among those that are there, so no name from `metrics.json` ever becomes a path.
    """
    path = next((p for p in evaluation.scores.glob("*.safetensors") if p.stem == score), None)
    if path is None:
        return None
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it and run `dogfast evaluate` again") from error
    for name, values in tensors.items():
        if values.ndim != 1 or not np.issubdtype(values.dtype, np.floating) or np.isnan(values).any():
            raise DataError(f"{path}: '{name}' is no list of scores (NaN?); remove it and run `dogfast evaluate` again")
    if not len(tensors.get("id", ())):
        raise DataError(f"{path} holds no scores of ID images; remove it and run `dogfast evaluate` again")
    return tensors


# --- training ---------------------------------------------------------------------------------------------------
def read_trainings(run: Run) -> list[Training]:
    found = (run.root / "classifiers").glob("*/train.json")
    return sorted((_training(path) for path in found), key=lambda training: display_order(training.name))


def _training(path: Path) -> Training:
    record = read_json(path)
    record = record if isinstance(record, dict) else {}
    history = record.get("history") if isinstance(record.get("history"), list) else []
    losses = [epoch.get("ce") for epoch in history if isinstance(epoch, dict)]
    seconds = record.get("seconds")
    return Training(
        name=path.parent.name,
        epochs=len(history),
        seconds=float(seconds) if is_number(seconds) else None,
        losses=tuple(float(loss) for loss in losses if is_number(loss)),
    )


# --- checks -----------------------------------------------------------------------------------------------------
def is_number(value: Any) -> bool:
    """A finite number and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def text_of(row: dict, key: str, path: Path) -> str:
    if not isinstance(row.get(key), str):
        raise DataError(f"{path}: '{key}' is {row.get(key)!r}, not a text; mend or remove the file")
    return row[key]


def number_of(row: dict, key: str, path: Path) -> float:
    if not is_number(row.get(key)):
        raise DataError(f"{path}: '{key}' is {row.get(key)!r}, not a number; mend or remove the file")
    return float(row[key])


def _fraction(row: dict, key: str, path: Path) -> float:
    value = number_of(row, key, path)
    if not 0 <= value <= 1:
        raise DataError(f"{path}: '{key}' is {value}, not between 0 and 1; remove the file and run `dogfast evaluate` again")
    return value


def _count(row: dict, key: str, path: Path) -> int:
    value = number_of(row, key, path)
    if value < 0 or value != int(value):
        raise DataError(f"{path}: '{key}' is {value}, not a count; remove the file and run `dogfast evaluate` again")
    return int(value)
