"""`dogfast demo`: the whole job on the embedded world."""

from __future__ import annotations

from pathlib import Path

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.environment import Choice

DEFAULT_PLACE = Path("runs/demo")


def register(app: typer.Typer) -> None:
    seed = (int, typer.Option(0, "--seed", help="seed of every stage"))
    add_command(app, "demo", ("model",), demo, run="output", extra={"seed": seed})


def demo(invocation: Invocation) -> None:
    """Anchors, outliers, four classifiers, their table and a report, offline, in minutes on a laptop."""
    from dogfast.workflows.demo import demo as work
    from dogfast.workflows.demo import demo_config, demo_table
    from dogfast.workflows.plans import plan_demo

    place = Choice(invocation.run or DEFAULT_PLACE, "asked for by --output" if invocation.run else "the default of the demo")
    config = invocation.resolve(demo_config(invocation.extra["seed"]))
    run_stage(invocation, place, config, work, plan_demo, demo_table)
