"""`dogfast train`: a classifier that learns from outliers."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import argument_place
from dogfast.config.option import require


def register(app: typer.Typer) -> None:
    add_command(app, "train", ("data", "model", "training", "objectives"), train, run="argument", launched=True)


def train(invocation: Invocation) -> None:
    """Train a classifier: from ID images alone, or with outliers by the methods of the papers' tables.

    Started by `accelerate launch`, the processes share every batch; the same command resumes.
    """
    from dogfast.environment import USE_CPU
    from dogfast.processes import own_gpu
    from dogfast.run import beside, launch
    from dogfast.training.ranks import join_ranks
    from dogfast.training.stage import assist
    from dogfast.workflows.chain import run_train
    from dogfast.workflows.plans import plan_train

    ranks = join_ranks()
    if ranks.index > 0:
        return assist(ranks)
    place, config = argument_place(invocation)
    require(
        ranks.count == 1 or config.model.device != "cpu" or own_gpu() is None,
        f"--device cpu under `accelerate launch`: set {USE_CPU}=1 as well, so that the processes meet on CPUs",
    )
    opening = beside if config.training.follow else launch
    run_stage(invocation, place, config, partial(run_train, ranks=ranks), plan_train, _text, opening)
    ranks.tell(None)


def _text(result: dict[str, Any]) -> str:
    state = (
        "stands already" if result["resumed"] else f"trained in {result['seconds']:.0f} s at {result['img_per_s']:.0f} img/s"
    )
    return f"{result['name']} {state}: {100 * result['id_accuracy']:.2f} % of the validation images right; {result['model']}"
