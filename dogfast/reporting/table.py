"""The table: a block of rows a score, a row a classifier, FPR95 and AUROC of every OOD set, and their mean."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dogfast.reporting.figures import count_range, percent, points, round_points
from dogfast.reporting.inputs import Evaluation, Result, datasets_of, score_label, scores_of
from dogfast.reporting.pair import Pair, baseline_of, common_datasets, mean_over
from dogfast.reporting.shifts import difference_of

LOWER, HIGHER = -1, 1
"""Which direction is good: FPR95 should fall, AUROC and accuracy should rise."""


@dataclass(frozen=True)
class Cell:
    """One number in percent; ``delta`` is its change against the baseline in points, where there is one.

    ``interval`` is where the number would lie for other test images, ``verdict`` the paired bootstrap's on that change.
    """

    value: float | None
    text: str
    delta: str = ""
    worse: bool = False
    best: bool = False
    note: str = ""
    interval: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Row:
    name: str
    is_baseline: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    label: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Heading:
    dataset: str
    group: str
    n: str


@dataclass(frozen=True)
class Table:
    """``blocks[i].rows[j].cells``: ID accuracy, then FPR95 and AUROC of each heading, then of the mean."""

    headings: tuple[Heading, ...]
    n_id: str
    blocks: tuple[Block, ...]


def build_table(evaluations: list[Evaluation]) -> Table:
    datasets = datasets_of(evaluations)
    headings = tuple(Heading(name, group, count_range(_n_ood(evaluations, name))) for name, group in datasets.items())
    n_id = [result.n_id for evaluation in evaluations for result in evaluation.results]
    blocks = tuple(_block(evaluations, score, list(datasets)) for score in scores_of(evaluations))
    return Table(headings, count_range(n_id) if n_id else "0", blocks)


def _n_ood(evaluations: list[Evaluation], dataset: str) -> list[int]:
    return [result.n_ood for e in evaluations for result in e.results if result.dataset == dataset]


def _block(evaluations: list[Evaluation], score: str, datasets: list[str]) -> Block:
    baseline = baseline_of(evaluations)
    scored = [e for e in evaluations if any(r.score == score for r in e.results)]
    columns = [_accuracies(scored, baseline)]
    for dataset in datasets:
        columns += [_column(scored, baseline, score, dataset, metric) for metric in ("fpr95", "auroc")]
    columns += [_means(scored, baseline, score, datasets, metric) for metric in ("fpr95", "auroc")]
    rows = zip(*columns)
    return Block(score_label(score), tuple(Row(e.name, e is baseline, tuple(row)) for e, row in zip(scored, rows)))


def _accuracies(evaluations: list[Evaluation], baseline: Evaluation | None) -> list[Cell]:
    before = baseline.id_accuracy if baseline else None
    return _mark_best([_cell(e.id_accuracy, None if e is baseline else before, HIGHER) for e in evaluations], HIGHER)


def _column(evaluations: list[Evaluation], baseline: Evaluation | None, score: str, dataset: str, metric: str) -> list[Cell]:
    good = LOWER if metric == "fpr95" else HIGHER
    before = _value(baseline.result(score, dataset), metric) if baseline else None
    cells = [
        replace(
            _cell(_value(e.result(score, dataset), metric), None if e is baseline else before, good),
            interval=_interval(e.result(score, dataset), metric),
            verdict=_verdict(baseline, e, score, [dataset]) if metric == "fpr95" else "",
        )
        for e in evaluations
    ]
    return _mark_best(cells, good)


def _verdict(baseline: Evaluation | None, evaluation: Evaluation, score: str, datasets: list[str]) -> str:
    found = difference_of(Pair(baseline, evaluation), score, datasets) if baseline else None
    return found.verdict if found else ""


def _interval(result: Result | None, metric: str) -> str:
    bounds = getattr(result, f"{metric}_interval") if result else None
    return "–".join(map(percent, bounds)) if bounds else ""


def _means(
    evaluations: list[Evaluation], baseline: Evaluation | None, score: str, datasets: list[str], metric: str
) -> list[Cell]:
    """Means; one over fewer sets than the table has says so and takes no part in the ranking."""
    good = LOWER if metric == "fpr95" else HIGHER
    whole = [name for name in datasets if any(e.result(score, name) for e in evaluations)]
    cells = []
    for evaluation in evaluations:
        own = common_datasets(score, evaluation)
        shared = common_datasets(score, evaluation, baseline) if baseline and evaluation is not baseline else []
        change = None
        if shared and baseline:
            change = mean_over(evaluation, score, shared, metric) - mean_over(baseline, score, shared, metric)
        note = f"{len(own)} of {len(whole)} sets" if len(own) < len(whole) else ""
        verdict = _verdict(baseline, evaluation, score, shared) if metric == "fpr95" and shared else ""
        cells.append(replace(_changed(mean_over(evaluation, score, own, metric), change, good, note), verdict=verdict))
    return _mark_best(cells, good)


def _value(result: Result | None, metric: str) -> float | None:
    return None if result is None else getattr(result, metric)


def _cell(value: float | None, before: float | None, good: int) -> Cell:
    return _changed(value, None if value is None or before is None else value - before, good)


def _changed(value: float | None, change: float | None, good: int, note: str = "") -> Cell:
    if value is None:
        return Cell(None, "–")
    if change is None:
        return Cell(value, percent(value), note=note)
    return Cell(value, percent(value), points(change), worse=round_points(change) * good < 0, note=note)


def _mark_best(cells: list[Cell], good: int) -> list[Cell]:
    """Mark what nobody in the column beats as displayed; nothing is marked where there is nothing to compare."""
    rivals = [round_points(cell.value) for cell in cells if cell.value is not None and not cell.note]
    if len(rivals) < 2 or len(set(rivals)) == 1:
        return cells
    top = max(rivals) if good == HIGHER else min(rivals)
    return [replace(c, best=c.value is not None and not c.note and round_points(c.value) == top) for c in cells]
