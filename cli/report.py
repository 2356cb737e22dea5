"""`dogfast report`: one self-contained page about a run."""

from __future__ import annotations

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import argument_place


def register(app: typer.Typer) -> None:
    add_command(app, "report", ("data",), report, run="argument")


def report(invocation: Invocation) -> None:
    """Write report/index.html: did it get better, where, at what cost, and what it learned from; charts as PNG beside it."""
    from dogfast.workflows.chain import run_report
    from dogfast.workflows.plans import plan_report

    place, config = argument_place(invocation)
    run_stage(invocation, place, config, run_report, plan_report, lambda result: result["report"])
