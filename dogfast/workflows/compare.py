"""The papers' tables in one command: every classifier of every table, in every seed, from anchors to verdicts.

Each cell is what `train` and `evaluate` leave in an ordinary run: a comparison that was killed goes on where it was, and every
classifier in it can be looked at, or made anew, with the other commands.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from dogfast.concepts.stage import find_anchors
from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.data.catalogue import load_id
from dogfast.data.splits import PAINTING_WORDS
from dogfast.errors import DogfastError
from dogfast.events import Events
from dogfast.reporting.inputs import Evaluation, read_evaluations
from dogfast.run import Run, publish, to_json
from dogfast.text import first_line
from dogfast.training.names import classifier_name
from dogfast.training.sources import painted_source
from dogfast.workflows.chain import check_evaluate, check_generate, check_train, run_id_control
from dogfast.workflows.comparison.cells import Cell, bring_source, stands
from dogfast.workflows.comparison.flat import flat
from dogfast.workflows.comparison.inside import run_of_seed
from dogfast.workflows.comparison.jobs import completed
from dogfast.workflows.comparison.latex import latex
from dogfast.workflows.comparison.markdown import markdown
from dogfast.workflows.comparison.planned import plan_cells
from dogfast.workflows.comparison.request import Comparison
from dogfast.workflows.comparison.rows import BASELINE, SWEPT, Row
from dogfast.workflows.comparison.settings import of_seed, own_seed, seed_place, with_sets
from dogfast.workflows.comparison.sweep import sweep_axis, sweep_result, swept_cell, write_sweep
from dogfast.workflows.comparison.tables import Outcome, build_table
from dogfast.workflows.comparison.wanted import auxiliary_of, cells_of, outliers_of, rows_in, rows_of, trained_as, why_not

FORMATS = {"md": markdown, "csv": flat, "json": to_json, "tex": latex}
Failures = dict[int, dict[str, str]]
"""By seed and classifier, why there is none."""


def compare(config: RunConfig, run: Run, events: Events, request: Comparison) -> dict[str, Any]:
    """Train and evaluate what ``request`` asks for, as far as it does not stand, and write `comparison/`; what is told of it.

    A classifier that fails leaves the others alone; its rows say why. Raises what fails for all of them: DogfastError of the
    checks, of the anchors, of painted ID images and of the baseline.
    """
    started, config = time.monotonic(), with_sets(config)
    tables, axes, seeds = request.tables_of(config), request.swept(config), request.seeds_of(config)
    check_compare(config, run, request)
    folder = run.root / "comparison"
    run.claim("compare", {"train_seed": own_seed(config)}, has_results=folder.exists() or (run.root / "seeds").exists())
    rows = rows_in(tables, request)
    failed, points = {}, {axis: {} for axis in axes}
    for seed in seeds:
        with run_of_seed(config, run, seed) as (seeded, seed_run):
            failed[seed] = _complete_all(cells_of(rows, seeded, seed_run, request), f"seed {seed}", request.jobs, events)
            for axis, values in axes.items():
                points[axis][seed] = sweep_axis(trained_as(SWEPT, seeded, request), seed_run, axis, values, events)
    swept = [sweep_result(axis, Path(config.data.classes).name, by_seed) for axis, by_seed in points.items()]
    return {
        "run": str(run.root),
        "seeds": list(seeds),
        "tables": {str(number): _write_table(folder, number, config, run, request, failed) for number in tables},
        "sweeps": {result["axis"]: write_sweep(folder, result) for result in swept},
        "failed": _failures(failed, swept),
        "not_run": _not_run(rows, config, request),
        "seconds": round(time.monotonic() - started, 1),
    }


def _not_run(rows: list[Row], config: RunConfig, request: Comparison) -> dict[str, str]:
    return {row.method: reason for row in rows if (reason := why_not(row, config, request))}


def _failures(failed: Failures, swept: list[dict[str, Any]]) -> list[dict[str, Any]]:
    cells = [(seed, name, reason) for seed, of_seed in failed.items() for name, reason in of_seed.items()]
    for result in swept:
        for row in result["rows"]:
            cells += [(seed, f"{result['axis']}={row['value']}", reason) for seed, reason in row["failed"].items()]
    return [{"seed": seed, "name": name, "reason": reason} for seed, name, reason in cells]


def plan_compare(config: RunConfig, run: Run, events: Events, request: Comparison) -> dict[str, Any]:
    """What `compare` would do, as far as it is not done; writes nothing."""
    config = with_sets(config)
    tables, axes, seeds = request.tables_of(config), request.swept(config), request.seeds_of(config)
    check_compare(config, run, request)
    rows, named = rows_in(tables, request), []
    for seed in seeds:
        seeded, seed_run = of_seed(config, seed), Run(seed_place(run.root, config, seed))
        named += cells_of(rows, seeded, seed_run, request).items()
        named += [
            (f"{axis}={value}", swept_cell(trained_as(SWEPT, seeded, request), seed_run, axis, value))
            for axis, values in axes.items()
            for value in values
        ]
    return {
        "tables": list(tables),
        "seeds": list(seeds),
        "sweep": {axis: list(values) for axis, values in axes.items()},
        "not_run": _not_run(rows, config, request),
        **plan_cells(named, len(load_id(config.data).train), events),
    }


def check_compare(config: RunConfig, run: Run, request: Comparison) -> None:
    """Refuse what would only be noticed after hours, or would make the rows unequal."""
    unequal = config.training.tune or config.training.follow or config.synthesis.budget
    require(not unequal, "dogfast compare gives every method the same; leave out --tune, --follow and --budget")
    check_generate(config, run)
    check_evaluate(config)
    auxiliary = auxiliary_of(config, request)
    if auxiliary:
        try:
            check_train(config.with_values({"training": {"objective": "oe", "outliers": auxiliary}}, "--auxiliary"), run)
        except DogfastError as error:
            raise type(error)(str(error).replace("--outliers", "--auxiliary")) from error


def _complete_all(cells: dict[str, Cell], what: str, jobs: int, events: Events) -> dict[str, str]:
    """Complete the cells of one seed, the baseline first; why it failed, by the names of those that did."""
    failed: dict[str, str] = {}
    left = [cell for cell in cells.values() if not _stands(cell)]
    events.say(f"{what}: {len(cells) - len(left)} of {len(cells)} classifiers stand")
    if left:
        _prepare(left, events)
    for cell, error in completed(left, what, jobs, events):
        if error and cell.config.training.objective == BASELINE:
            raise error
        if error:
            failed[cell.name] = first_line(error)
            events.say(f"{cell.name} failed: {failed[cell.name]}")
    return failed


def _stands(cell: Cell) -> bool:
    try:
        return stands(cell)
    except DogfastError:
        return False


def _prepare(left: list[Cell], events: Events) -> None:
    """What several cells need, so that it fails once: the anchors; what is part of every evaluation too, painted ID images and the
    outliers that scores are chosen on, lest the baseline is judged without them.
    """
    cell = left[0]
    if any(painted_source(each.config.training) for each in left):
        find_anchors(cell.config, cell.run, events)
    if cell.config.training.id_synthetic:
        run_id_control(cell.config, cell.run, events)
    of_source = {painted_source(each.config.training): each for each in left}
    judging = next((of_source[source] for source in PAINTING_WORDS if source in of_source), None)
    if judging:
        bring_source(judging, events)


# --- what is written --------------------------------------------------------------------------------------------
def _write_table(
    folder: Path, number: int, config: RunConfig, run: Run, request: Comparison, failed: Failures
) -> dict[str, str]:
    """Write one table in every format; its files by kind."""
    evaluated = {seed: _evaluations(config, run, seed) for seed in failed}
    outcomes = {row: _outcome(row, config, request, evaluated, failed) for row in rows_of(number, request)}
    baseline = _outcome(None, config, request, evaluated, failed)
    table = build_table(number, config.data.classes, outcomes, baseline.seeds)
    places = {kind: folder / f"table-{number}.{kind}" for kind in FORMATS}
    for kind, write in FORMATS.items():
        publish(places[kind], write(table))
    return {kind: str(place) for kind, place in places.items()}


def _evaluations(config: RunConfig, run: Run, seed: int) -> dict[str, Evaluation]:
    return {found.name: found for found in read_evaluations(Run(seed_place(run.root, config, seed)))}


def _outcome(
    row: Row | None,
    config: RunConfig,
    request: Comparison,
    evaluated: dict[int, dict[str, Evaluation]],
    failed: Failures,
) -> Outcome:
    """What became of a row's classifier; of no row the baseline."""
    reason, outliers = (why_not(row, config, request), outliers_of(row, config, request)) if row else ("", "")
    if reason:
        return Outcome(outliers=outliers, not_run=reason)
    training = trained_as(row, config, request).training
    names = {seed: classifier_name(replace(training, train_seed=seed)) for seed in evaluated}
    return Outcome(
        name=classifier_name(replace(training, train_seed=0)),
        outliers=outliers,
        seeds={seed: evaluated[seed][name] for seed, name in names.items() if name not in failed[seed]},
        failed={seed: failed[seed][name] for seed, name in names.items() if name in failed[seed]},
    )
