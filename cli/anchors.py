"""`dogfast anchors`: which words lie near the ID images without naming them."""

from __future__ import annotations

from typing import Any

import typer

from dogfast.cli.answer import run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import output_place


def register(app: typer.Typer) -> None:
    add_command(app, "anchors", ("data", "model", "concepts"), anchors, run="output")


def anchors(invocation: Invocation) -> None:
    """Find near-OOD words for every class: textual inversion, candidates, anchors (DOG Eq. 4 to 6)."""
    from dogfast.concepts.stage import find_anchors
    from dogfast.workflows.plans import plan_anchors

    place, config = output_place(invocation)
    run_stage(invocation, place, config, find_anchors, plan_anchors, _text)


def _text(result: dict[str, Any]) -> str:
    return f"{result['anchors']} anchors in {result['run']}/concepts/anchors.jsonl" + (
        " (found before)" if result["resumed"] else ""
    )
