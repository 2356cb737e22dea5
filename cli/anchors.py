"""`dogfast anchors`: which words lie near the ID images without naming them."""

from __future__ import annotations

from typing import Any

import typer

from dogfast.cli.answer import answer, run_stage
from dogfast.cli.options import Invocation, add_command
from dogfast.cli.places import output_place

EXTRA = {
    "explain": (
        list[str],
        typer.Option([], "--explain", help="say why a word is kept or dropped, and search nothing; may be repeated"),
    )
}


def register(app: typer.Typer) -> None:
    add_command(app, "anchors", ("data", "model", "concepts"), anchors, run="output", extra=EXTRA)


def anchors(invocation: Invocation) -> None:
    """Find near-OOD words for every class: textual inversion, candidates, anchors (DOG Eq. 4 to 6)."""
    from dogfast.concepts.explain import explain
    from dogfast.concepts.stage import find_anchors
    from dogfast.run import Run
    from dogfast.workflows.plans import plan_anchors

    place, config = output_place(invocation)
    if invocation.extra["explain"]:
        explained = explain(invocation.extra["explain"], config, Run(place.value))
        answer(invocation, {"words": explained}, "\n".join(map(_explained, explained)))
        return
    run_stage(invocation, place, config, find_anchors, plan_anchors, _text)


def _text(result: dict[str, Any]) -> str:
    return f"{result['anchors']} anchors in {result['run']}/concepts/anchors.jsonl" + (
        " (found before)" if result["resumed"] else ""
    )


def _explained(word: dict[str, Any]) -> str:
    senses = [f"  {each['synset']} {each['category']}: {', '.join(each['lemmas'])}{_kind_of(each)}" for each in word["senses"]]
    verdict = f"left out: {word['reason']}" if word["reason"] else "searched"
    return "\n".join([f"{word['word']}: {verdict}", *senses, *_evidence(word)])


def _kind_of(sense: dict[str, Any]) -> str:
    return f" (a kind of {', '.join(sense['kind_of'])})" if sense["kind_of"] else ""


def _evidence(word: dict[str, Any]) -> list[str]:
    if word["reason"]:
        return []
    if not word["searched"]:
        return ["  no candidates yet: run `dogfast anchors`"]
    rows = [
        f"  of {row['class_name']!r}: {'anchor' if row['kept'] else row['reason']}; distance {row['distance']:.4f}, "
        f"bound {row['bound']:.4f}, lambda {row['limit']:.4f}; cosine to its pseudo-word {row['text_cosine']:.4f}"
        for row in word["rows"]
    ]
    return rows or ["  not among the candidates of any class (Eq. 5)"]
