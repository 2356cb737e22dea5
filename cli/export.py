"""`dogfast export`: a detector to take away."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import NAMING, Invocation, add_command, others
from dogfast.cli.places import argument_place

KEPT = {
    "data": ("classes", "data", "hub"),
    "model": ("device", "offline"),
    "training": NAMING,
    "detection": ("ash_percentile", "knn_share"),
}
EXTRA = {
    "score": (str, typer.Option("msp", "--score", help="the score that decides: any of `evaluate --scores`, or rejection")),
    "recall": (float, typer.Option(0.95, "--recall", help="share of the ID validation images that the threshold accepts")),
    "format": (str, typer.Option("detector", "--format", help="detector (for Python), or onnx (with a graph of it besides)")),
    "output": (Path | None, typer.Option(None, "--output", help="folder to write; default RUN/export/CLASSIFIER-SCORE")),
}


def register(app: typer.Typer) -> None:
    add_command(app, "export", tuple(KEPT), export, run="argument", extra=EXTRA, without=others(**KEPT))


def export(invocation: Invocation) -> None:
    """Write a detector as a folder that needs nothing else: classifier, score, threshold, and how images are prepared."""
    from dogfast.workflows.export import Request, plan_export, run_export

    place, config = argument_place(invocation)
    extra = invocation.extra
    request = Request(score=extra["score"], recall=extra["recall"], format=extra["format"], folder=extra["output"])
    run_stage(invocation, place, config, partial(run_export, request=request), partial(plan_export, request=request), _text)


def _text(result: dict[str, Any]) -> str:
    known = f"known from {result['score']} {result['threshold']:.6g} on ({100 * result['recall']:g} % of {result['validation_images']} ID validation images)"
    parity = f"; its graph against torch: {result['parity']['verdict']}" if "parity" in result else ""
    return f"{result['output']}: {result['name']}, {known}{parity}"
