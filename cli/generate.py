"""`dogfast generate`: paint outliers into shards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import typer

from dogfast.cli.answer import refuse_failed, run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import output_place
from dogfast.config.option import require
from dogfast.events import Events, diary
from dogfast.run import Run


def register(app: typer.Typer) -> None:
    add_command(app, "generate", ("data", "model", "concepts", "synthesis"), generate, run="output", launched=True)


def generate(invocation: Invocation) -> None:
    """Paint m outliers per class from its anchors into WebDataset shards (DOG Eq. 7); the same command resumes.

    Started by `accelerate launch`, every process paints its part of the shards; with --ray, a cluster's painters do.
    """
    from dogfast.synthesis.crew import join_crew
    from dogfast.workflows.chain import run_generate
    from dogfast.workflows.plans import plan_generate

    crew = join_crew()
    if crew.rank > 0:
        if not invocation.dry_run:
            crew.assist(lambda run: Events(diary(run.events(crew.rank))))
        return
    place, config = output_place(invocation)
    require(
        crew.size == 1 or not config.synthesis.ray,
        "--ray starts its own processes; leave out `accelerate launch`, or give --ray ''",
    )
    result = run_stage(
        invocation, place, config, partial(run_generate, paint_all=crew.paint, painters=crew.size), plan_generate, _text
    )
    refuse_failed(result, "raise --m to add others")


def _text(result: dict[str, Any]) -> str:
    before = f", {result['resumed_shards']} of them from before" if result["resumed_shards"] else ""
    failed = f"; {result['failed']} could not be painted" if result["failed"] else ""
    return (
        f"{result['outliers']} outliers in {result['shards']} shards{before} in {Run(Path(result['run'])).outliers(result['source'])} "
        f"({result['img_per_s']} img/s, {result['backend']}, {result['recipe']}){failed}"
    )
