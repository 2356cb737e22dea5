"""`dogfast demo`: the whole job on the embedded world."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.environment import Choice

DEFAULT_PLACE, REFINED_PLACE = Path("runs/demo"), Path("runs/demo-refined")
EXTRA = {
    "seed": (int, typer.Option(0, "--seed", help="seed of every stage")),
    "refine": (bool, typer.Option(False, "--refine", help="paint the outliers in two rounds, the second of what still fools `dog`")),
}  # fmt: skip


def register(app: typer.Typer) -> None:
    add_command(app, "demo", ("model",), demo, run="output", extra=EXTRA)


def demo(invocation: Invocation) -> None:
    """Anchors, outliers, four classifiers, their table and a report, offline, in minutes on a laptop."""
    from dogfast.workflows.demo import demo as work
    from dogfast.workflows.demo import demo_config, demo_table
    from dogfast.workflows.plans import plan_demo

    refined = invocation.extra["refine"]
    default = REFINED_PLACE if refined else DEFAULT_PLACE
    place = Choice(invocation.run or default, "asked for by --output" if invocation.run else "the default of the demo")
    config = invocation.resolve(demo_config(invocation.extra["seed"], refined))
    run_stage(invocation, place, config, partial(work, refined=refined), partial(plan_demo, refined=refined), demo_table)
