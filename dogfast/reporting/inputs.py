"""What the stages before left in the run folder, checked: the report trusts neither its numbers nor its names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dogfast.detection.table import load_scores
from dogfast.errors import DataError
from dogfast.run import Run, read_json

BASELINE = "ce"
VERDICTS = ("better", "worse", "undecided")
PAINTED, UNDAMAGED = "painted by the generator", "undamaged"
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
    """One score on one OOD set; ``fpr95`` and ``auroc`` are fractions, their intervals (95 %, over test images) may be absent."""

    score: str
    dataset: str
    group: str
    fpr95: float
    auroc: float
    n_id: int
    n_ood: int
    fpr95_interval: tuple[float, float] | None = None
    auroc_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Refusal:
    """The share of known-like images of one kind that is called OOD under one score, where 5 % of real ID images are.

    ``kind`` is :data:`PAINTED`, :data:`UNDAMAGED`, or the corruption and severity that ID test images went through, of which
    then ``accuracy`` is still recognised.
    """

    score: str
    kind: str
    share: float
    n: int
    accuracy: float | None = None


@dataclass(frozen=True)
class Difference:
    """FPR95 less the baseline's over the mean of ``datasets``, in [-1, 1], with its 95 % interval over test images.

    ``verdict`` is of :data:`VERDICTS`.
    """

    score: str
    datasets: tuple[str, ...]
    change: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Evaluation:
    """One `metrics.json`; ``scores`` and ``features`` are the folders of what was kept of every image, which may be absent."""

    name: str
    id_accuracy: float
    results: tuple[Result, ...]
    chosen: str
    """The hyper-parameters of scores that were chosen, and why, in words."""
    scores: Path
    features: Path
    refusals: tuple[Refusal, ...] = ()
    differences: tuple[Difference, ...] = ()

    def result(self, score: str, dataset: str) -> Result | None:
        return next((r for r in self.results if (r.score, r.dataset) == (score, dataset)), None)


def own_baseline(name: str) -> str:
    """What the classifier ``name`` is compared with: the baseline of its seed."""
    _, at, seed = name.partition("@")
    return f"{BASELINE}{at}{seed}"


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
    return Evaluation(
        name=path.parent.name,
        id_accuracy=_fraction(metrics, "id_accuracy", path),
        results=tuple(_result(row, path) for row in metrics["rows"]),
        chosen=_chosen(metrics.get("hyper_parameters", {}), path),
        scores=path.parent / "scores",
        features=path.parent / "features",
        refusals=tuple(_refusals(metrics, path)),
        differences=tuple(_differences(metrics, path)),
    )


def _chosen(found: Any, path: Path) -> str:
    if not isinstance(found, dict) or not all(isinstance(choice, dict) for choice in found.values()):
        raise DataError(f"{path}: the hyper-parameters are no object; remove the file and run `dogfast evaluate` again")
    return "; ".join(
        f"{text_of(choice, 'name', path)} of {score_label(score)}: {number_of(choice, 'value', path):g} ({text_of(choice, 'reason', path)})"
        for score, choice in found.items()
    )


def _refusals(metrics: dict, path: Path) -> Iterator[Refusal]:
    for row in _rows(metrics, "artefact_control", path):
        share, n = _fraction(row, "called_ood", path), _count(row, "n", path)
        yield Refusal(text_of(row, "score", path), PAINTED, share, n)
    for row in _rows(metrics, "corrupted_id", path):
        name = text_of(row, "corruption", path)
        kind = UNDAMAGED if name == "none" else f"{name} {number_of(row, 'severity', path):g}"
        share, n = _fraction(row, "refused", path), _count(row, "n", path)
        yield Refusal(text_of(row, "score", path), kind, share, n, _fraction(row, "id_accuracy", path))


def _differences(metrics: dict, path: Path) -> Iterator[Difference]:
    """What `verdicts` says of FPR95 against :data:`BASELINE` of the same seed, a set or a mean each."""
    found = metrics.get("verdicts", {})
    if not isinstance(found, dict):
        raise DataError(f"{path}: the verdicts are no object; remove the file and run `dogfast evaluate` again")
    if found.get("against") != own_baseline(path.parent.name):
        return
    for row in _rows(found, "rows", path):
        yield _difference(row, (text_of(row, "dataset", path),), path)
    for row in _rows(found, "means", path):
        datasets = row.get("datasets")
        yield _difference(row, tuple(map(str, datasets)) if isinstance(datasets, list) else (), path)


def _difference(row: dict, datasets: tuple[str, ...], path: Path) -> Difference:
    if row.get("verdict") not in VERDICTS:
        raise DataError(f"{path}: the verdict {row.get('verdict')!r} is none; remove the file and run `dogfast evaluate` again")
    numbers = (number_of(row, key, path) for key in ("change", "low", "high"))
    return Difference(text_of(row, "score", path), datasets, *numbers, row["verdict"])


def _rows(holder: dict, key: str, path: Path) -> list[dict]:
    rows = holder.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: '{key}' is no list of rows; remove the file and run `dogfast evaluate` again")
    return rows


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
        fpr95_interval=_interval(row, "fpr95_interval", path),
        auroc_interval=_interval(row, "auroc_interval", path),
    )


def _interval(row: dict, key: str, path: Path) -> tuple[float, float] | None:
    bounds = row.get(key)
    if bounds is None:
        return None
    if not isinstance(bounds, list) or len(bounds) != 2 or not all(is_number(bound) for bound in bounds):
        raise DataError(f"{path}: '{key}' is {bounds!r}, not two numbers; remove the file and run `dogfast evaluate` again")
    return float(bounds[0]), float(bounds[1])


# --- raw scores -------------------------------------------------------------------------------------------------
def read_scores(evaluation: Evaluation, score: str) -> dict[str, np.ndarray] | None:
    """Scores by data set (`id` among them), fp32 (n,), larger = more ID; None where they were not kept.

    The file is looked up among those that are there, so no name from `metrics.json` ever becomes a path.
    """
    path = next((p for p in evaluation.scores.glob("*.safetensors") if p.stem == score), None)
    return None if path is None else {name: values.numpy() for name, values in load_scores(path).items()}


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
