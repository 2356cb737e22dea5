"""`dogfast refine`: round after round, what still fools the classifier is painted more of."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer

from dogfast.cli.answer import refuse_failed, run_stage
from dogfast.cli.options import SECTIONS, Invocation, add_command
from dogfast.cli.places import argument_place

DECIDED = ("round", "follow", "tune", "budget", "strategy", "output_kind")
"""Fields that the rounds decide, or that would make them unequal."""
EXTRA = {
    "rounds": (int, typer.Option(3, "--rounds", help="at most so many; the first is what `generate` and `train` do, each adds --m outliers a class")),
    "patience": (int, typer.Option(1, "--patience", help="rounds without a lower FPR95 on validation, at the first one's accuracy, before it ends")),
    "score": (str, typer.Option("msp", "--score", help="the score that tells which outliers the classifier accepts as ID")),
}  # fmt: skip


def register(app: typer.Typer) -> None:
    add_command(app, "refine", tuple(SECTIONS), refine, run="argument", extra=EXTRA, without=DECIDED)


def refine(invocation: Invocation) -> None:
    """Rounds of painting and training: conditions that fool the classifier are painted more, those that are ID no more.

    Judged on validation alone; the same command goes on where it stopped.
    """
    from dogfast.workflows.plans import plan_refine
    from dogfast.workflows.refine import refine as work
    from dogfast.workflows.refinement.request import Refinement

    request = Refinement(**{name: invocation.extra[name] for name in EXTRA})
    place, config = argument_place(invocation)
    result = run_stage(invocation, place, config, partial(work, request=request), partial(plan_refine, request=request), _text)
    refuse_failed(result, "the rounds are of the others")


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"{'round':>5} {'outliers':>9} {'new':>7} {'fooled':>8} {'look ID':>8} {'dropped':>8} {'FPR95':>8} {'accuracy':>9}"
    ]
    for row in result["rounds"]:
        mark = "  <- chosen" if row["round"] == result["chosen"] else ""
        shares = (
            f"{row['fooled']:>8.1%} {row['like_id']:>8.1%} {row['dropped']:>8} {row['fpr95']:>8.2%} {row['accuracy']:>9.2%}"
        )
        lines.append(f"{row['round']:>5} {row['images']:>9} {row['new']:>7} {shares}{mark}")
    number = result["chosen"]
    flag = f" --round {number}" if number > 1 else ""
    return "\n".join(
        [*lines, f"ended by: {result['ended']}", f"`dogfast evaluate {result['run']}{flag}` measures {result['classifier']}"]
    )
