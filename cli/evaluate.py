"""`dogfast evaluate`: does the classifier tell the unknown from the known?"""

from __future__ import annotations

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import argument_place


def register(app: typer.Typer) -> None:
    add_command(app, "evaluate", ("data", "model", "training", "objectives", "detection"), evaluate, run="argument")


def evaluate(invocation: Invocation) -> None:
    """FPR95, AUROC and AUPR of a classifier under every score on every OOD set, and whether it is better than `ce`."""
    from dogfast.workflows.chain import run_evaluate_with_baseline
    from dogfast.workflows.plans import plan_evaluate

    place, config = argument_place(invocation)
    run_stage(invocation, place, config, run_evaluate_with_baseline, plan_evaluate, _text)


def _text(result: dict) -> str:
    from dogfast.detection.summary import format_evaluations

    return format_evaluations({result["name"]: result})
