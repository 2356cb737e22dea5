"""`dogfast compare`: the papers' tables in one command."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import SECTIONS, Invocation, add_command
from dogfast.cli.places import argument_place
from dogfast.config import RunConfig
from dogfast.environment import Choice
from dogfast.errors import PartialFailure
from dogfast.run import is_run

DECIDED = (
    "objective",
    "outliers",
    "strategy",
    "output_kind",
    "concepts_seed",
    "seed",
    "train_seed",
    "round",
    "follow",
    "tune",
    "budget",
    "scores",
)
"""Fields that the tables decide, or that would make their rows unequal."""
EXTRA = {
    "seeds": (str, typer.Option("", "--seeds", help="as 0,1,2: seeds of everything, from anchors on; default: the run's own")),
    "tables": (str, typer.Option("", "--tables", help="as 1,2,4: which of the papers' Tables 1 to 4; default: those of the classes")),
    "auxiliary": (
        str,
        typer.Option("", "--auxiliary", help="outliers of the methods that need auxiliary images, as --outliers of `train`; default for shapes: renders"),
    ),
    "sweep": (
        list[str],
        typer.Option([], "--sweep", help="as m=50,100: the papers' figures, along m, k, eta, lambda (a distance) or quantile (lambda as one); may be repeated"),
    ),
    "jobs": (
        int,
        typer.Option(1, "--jobs", help="classifiers trained at a time, each in a process of its own on its share of the cores, or on the GPU that they share"),
    ),
    "scores": (list[str], typer.Option([], "--scores", help="judge by these scores alone; default: all that rows need; may be repeated")),
}  # fmt: skip


def register(app: typer.Typer) -> None:
    add_command(app, "compare", tuple(SECTIONS), compare, run="argument", extra=EXTRA, without=DECIDED)


def compare(invocation: Invocation) -> None:
    """The papers' tables on your own data: every method, strategy and score, with verdicts; the same command resumes."""
    from dogfast.workflows.compare import compare as work
    from dogfast.workflows.compare import plan_compare
    from dogfast.workflows.comparison.request import Comparison, whole_numbers

    extra = invocation.extra
    request = Comparison(
        seeds=whole_numbers(extra["seeds"], "--seeds"),
        tables=whole_numbers(extra["tables"], "--tables"),
        auxiliary=extra["auxiliary"],
        sweep=tuple(extra["sweep"]),
        scores=tuple(extra["scores"]),
        jobs=extra["jobs"],
    )
    place, config = _place(invocation)
    result = run_stage(invocation, place, config, partial(work, request=request), partial(plan_compare, request=request), _text)
    if result.get("failed"):
        names = ", ".join(f"{each['name']} ({each['reason']})" for each in result["failed"])
        raise PartialFailure(f"{len(result['failed'])} classifiers failed: {names}; the others stand")


def _place(invocation: Invocation) -> tuple[Choice[Path], RunConfig]:
    """As `argument_place`, but RUN may be new where --classes says of what; a new run has the settings of a comparison."""
    from dogfast.workflows.comparison.settings import comparison_preset

    run, typed = invocation.run, invocation.flags.get("data", {})
    if run is not None and not run.exists() and "classes" in typed:
        return Choice(run, "named, and new"), invocation.resolve(comparison_preset(typed["classes"]))
    place, config = argument_place(invocation)
    return place, config if is_run(place.value) else invocation.resolve(comparison_preset(config.data.classes))


def _text(result: dict[str, Any]) -> str:
    tables = [Path(files["md"]).read_text(encoding="utf-8") for files in result["tables"].values()]
    sweeps = [f"sweep of {axis}: {files['csv']}, {files['png']}" for axis, files in result["sweeps"].items()]
    return "\n".join([*tables, *sweeps, f"written to {result['run']}/comparison in {result['seconds']:.0f} s"])
