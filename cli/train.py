"""`dogfast train`: a classifier that learns from outliers."""

from __future__ import annotations

from typing import Any

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import argument_place


def register(app: typer.Typer) -> None:
    add_command(app, "train", ("data", "model", "training"), train, run="argument")


def train(invocation: Invocation) -> None:
    """Train a classifier, or tune it on outliers (oe: Hendrycks 2019; dog: DOG Eq. 8 and 9)."""
    from dogfast.workflows.chain import run_train
    from dogfast.workflows.plans import plan_train

    place, config = argument_place(invocation)
    run_stage(invocation, place, config, run_train, plan_train, _text)


def _text(result: dict[str, Any]) -> str:
    state = (
        "stands already" if result["resumed"] else f"trained in {result['seconds']:.0f} s at {result['img_per_s']:.0f} img/s"
    )
    return f"{result['name']} {state}: {100 * result['id_accuracy']:.2f} % of the validation images right; {result['model']}"
