"""The papers' figures: FPR95 and AUROC of `dog` along m, K, eta and lambda, each value in a run of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.errors import DogfastError
from dogfast.events import Events
from dogfast.reporting.drawing import new_figure, png_bytes
from dogfast.reporting.inputs import Evaluation, datasets_of, read_evaluations, score_label
from dogfast.run import Run, publish, to_json
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import count_samples
from dogfast.text import first_line
from dogfast.workflows.comparison.cells import Cell, complete
from dogfast.workflows.comparison.flat import csv_text
from dogfast.workflows.comparison.inside import run_at, take_over
from dogfast.workflows.comparison.measured import MEASURES, figures, scores_in
from dogfast.workflows.comparison.request import Value, at
from dogfast.workflows.comparison.rows import SWEPT
from dogfast.workflows.comparison.settings import stored_apart
from dogfast.workflows.comparison.tables import CONVENTION, OK

COLUMNS = ("axis", "value", "score", "status", "seeds", "outliers", "fpr95", "fpr95_std", "auroc", "auroc_std")


@dataclass(frozen=True)
class Point:
    """One value in one seed: its evaluation and how many outliers it had, or why there is none."""

    evaluation: Evaluation | None = None
    outliers: int = 0
    failed: str = ""


def sweep_axis(config: RunConfig, run: Run, axis: str, values: tuple[Value, ...], events: Events) -> dict[Value, Point]:
    """Train and evaluate ``config`` at every one of ``values``, ascending, each in a run inside ``run``, that of one seed.

    Taken over from ``run`` are the starting classifier and painted ID images, where there are such; along m also the anchors,
    and from each smaller m its outliers.
    """
    found, source, shared = {}, run, (f"synthesis/{ID_CONTROL}",)
    if axis == "m":
        shared = ("concepts", *shared)
    for value in values:
        cell = swept_cell(config, run, axis, value)
        events.say(f"sweep {axis} = {value}")
        try:
            with run_at(cell.run.root, cell.config, run) as inner:
                take_over(source, inner, cell.config, shared)
                found[value] = _point(Cell(cell.config, inner), events)
            if axis == "m":
                source, shared = inner, (*shared, "synthesis/dog")
        except DogfastError as error:
            found[value] = Point(failed=first_line(error))
            events.say(f"sweep {axis} = {value} failed: {found[value].failed}")
    return found


def swept_cell(config: RunConfig, run: Run, axis: str, value: Value) -> Cell:
    """``config`` at one value, in the run that is its own."""
    chosen = stored_apart(at(config, axis, value), f"sweep/{axis}={value}")
    return Cell(chosen, Run(run.root / "comparison" / "sweep" / f"{axis}={value}", run.say))


def _point(cell: Cell, events: Events) -> Point:
    complete(cell, events)
    evaluation = next(each for each in read_evaluations(cell.run) if each.name == cell.name)
    return Point(evaluation, count_samples(cell.run.outliers("dog")))


# --- what is written --------------------------------------------------------------------------------------------
def sweep_result(axis: str, classes: str, by_seed: dict[int, dict[Value, Point]]) -> dict[str, Any]:
    """One axis, in plain JSON types."""
    values = next(iter(by_seed.values()))
    rows = [_row(value, {seed: points[value] for seed, points in by_seed.items()}) for value in values]
    head = {"axis": axis, "objective": SWEPT.objective, "classes": classes, "convention": CONVENTION}
    return head | {"seeds": list(by_seed), "rows": rows}


def _row(value: Value, points: dict[int, Point]) -> dict[str, Any]:
    failed = {seed: point.failed for seed, point in points.items() if point.failed}
    found = {seed: point.evaluation for seed, point in points.items() if point.evaluation}
    row = {"value": value, "status": OK, "failed": failed, "seeds": list(found)}
    if not found:
        return row | {"status": "failed: " + "; ".join(dict.fromkeys(failed.values()))}
    sets = list(datasets_of(list(found.values())))
    averages = {score: figures(found, score, sets)["average"] for score in scores_in(found)}
    return row | {"sets": sets, "outliers": [points[seed].outliers for seed in found], "figures": averages}


def write_sweep(folder: Path, result: dict[str, Any]) -> dict[str, str]:
    """Write CSV, JSON and PNG of one axis; their places by kind."""
    places = {kind: folder / f"sweep-{result['axis']}.{kind}" for kind in ("csv", "json", "png")}
    publish(places["csv"], csv_text(COLUMNS, (line for row in result["rows"] for line in _lines(result["axis"], row))))
    publish(places["json"], to_json(result))
    publish(places["png"], figure(result))
    return {kind: str(place) for kind, place in places.items()}


def figure(result: dict[str, Any]) -> bytes:
    """A PNG: mean FPR95 and AUROC over the sets against the axis, a line a score, bars of one standard deviation over seeds."""
    picture = new_figure(8, 3.4)
    rows = [row for row in result["rows"] if row["status"] == OK]
    for axes, measure, label in zip(
        picture.subplots(1, 2), MEASURES, ("FPR95, % (lower is better)", "AUROC, % (higher is better)")
    ):
        for score in _scores_of_all(rows):
            spreads = [row["figures"][score][measure] for row in rows]
            means, bars = [found["mean"] for found in spreads], [found["std"] or 0.0 for found in spreads]
            axes.errorbar([row["value"] for row in rows], means, bars, marker="o", capsize=2, label=score_label(score))
        axes.set_xticks([row["value"] for row in rows])
        axes.set_xlabel(result["axis"], parse_math=False)
        axes.set_ylabel(label, parse_math=False)
        axes.grid(alpha=0.3)
    if rows:
        picture.axes[0].legend(fontsize=8)
    picture.suptitle(f"`{SWEPT.objective}` on {result['classes'][:40]}", fontsize=9, parse_math=False)
    return png_bytes(picture)


def _scores_of_all(rows: list[dict[str, Any]]) -> list[str]:
    """The scores that every row was judged by."""
    return [score for score in rows[0]["figures"] if all(score in row["figures"] for row in rows)] if rows else []


def _lines(axis: str, row: dict[str, Any]) -> list[dict[str, Any]]:
    head = {"axis": axis, "value": row["value"], "status": row["status"], "seeds": len(row["seeds"])}
    if row["status"] != OK:
        return [head]
    return [
        head
        | {"score": score, "outliers": "/".join(map(str, sorted(set(row["outliers"]))))}
        | {measure: found[measure]["mean"] for measure in MEASURES}
        | {f"{measure}_std": found[measure]["std"] for measure in MEASURES}
        for score, found in row["figures"].items()
    ]
