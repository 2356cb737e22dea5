"""`dogfast score`: does a detector know these images?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dogfast.cli.answer import answer, events_of, render_plan
from dogfast.cli.options import NAMING, Invocation, add_command, others
from dogfast.cli.places import base_config
from dogfast.config import RunConfig
from dogfast.errors import DataError, PartialFailure

if TYPE_CHECKING:
    from dogfast.detection.detector import Detector
    from dogfast.detection.inputs import Input
    from dogfast.workflows.score import Scored

KEPT = {"data": ("data", "hub"), "model": ("device", "offline"), "training": NAMING}
EXTRA = {
    "place": (Path, typer.Argument(..., metavar="MODEL", help="a run, a classifier of a run, or an exported detector")),
    "images": (list[str], typer.Argument(..., metavar="IMAGES", help="files, folders, tars or shards of images")),
    "score": (str, typer.Option("", "--score", help="the score that decides; default msp, for an exported detector its own")),
    "why": (bool, typer.Option(False, "--why", help="what a refused image is taken for: needs the run, and its generator")),
}
SHOWN = 3
FINITE = sys.float_info.max


def register(app: typer.Typer) -> None:
    add_command(app, "score", tuple(KEPT), score, extra=EXTRA, without=others(**KEPT))


def score(invocation: Invocation) -> None:
    """Say of every image whether the classifier knows such images (id) or refuses it (ood), with its class and score.

    Exit code 5 where some images could not be read, 4 where none could.
    """
    from dogfast.detection.inputs import Input, read_inputs
    from dogfast.detection.opening import found_at
    from dogfast.workflows.score import open_scorer, score_images

    place, asked, why = (invocation.extra[name] for name in ("place", "score", "why"))
    found = found_at(place)
    config = invocation.resolve(base_config(invocation, found[0].root) if found else RunConfig())
    if invocation.dry_run:
        return _plan(invocation, found)
    events = events_of(invocation)
    detector, explain = open_scorer(place, config, asked, why, events)
    results = _Results(detector, str(place), invocation.json, why)
    for item in score_images(detector, read_inputs(invocation.extra["images"]), explain):
        if isinstance(item, Input):
            events.say(results.miss(item))
        else:
            results.tell(item)
    results.end()


class _Results:
    """What is said of the images, one after the other, so that only the unreadable ones are remembered."""

    def __init__(self, detector: Detector, place: str, as_json: bool, why: bool):
        self.detector, self.as_json, self.why = detector, as_json, why
        head = {"model": place, "score": detector.score, "threshold": detector.threshold}
        self.head = f'{json.dumps(head)[:-1]}, "images": ['
        self.width = max(map(len, detector.class_names))
        self.scored, self.unreadable = 0, []

    def tell(self, item: Scored) -> None:
        if self.as_json:
            print(", " if self.scored else self.head, json.dumps(self._facts(item), ensure_ascii=False), sep="", end="")
        else:
            print(self._line(item), flush=True)
        self.scored += 1

    def miss(self, item: Input) -> str:
        """Remember what could not be read; what to say of it."""
        self.unreadable.append({"image": _text(item.name), "reason": item.fault})
        return f"unreadable: {_text(item.name)}: {item.fault}"

    def end(self) -> None:
        """Close the answer; DataError where no image was readable, PartialFailure where some were not."""
        count, failed = self.scored + len(self.unreadable), len(self.unreadable)
        named = "; ".join(f"{item['image']}: {item['reason']}" for item in self.unreadable[:SHOWN])
        named += f" and {failed - SHOWN} more" if failed > SHOWN else ""
        if not self.scored:
            raise DataError(f"none of {count} images can be read ({named or 'none were named'})")
        if self.as_json:
            print(f'], "unreadable": {json.dumps(self.unreadable, ensure_ascii=False)}}}', flush=True)
        if failed:
            raise PartialFailure(f"{failed} of {count} images cannot be read ({named}); the others are scored")

    def _facts(self, item: Scored) -> dict[str, Any]:
        score = max(-FINITE, min(FINITE, item.score))
        facts = {"image": _text(item.image), "verdict": item.verdict, "class": item.class_name, "score": score}
        return facts | {"why": item.why} if self.why else facts

    def _line(self, item: Scored) -> str:
        relation = "≥" if item.verdict == "id" else "<"
        why = f"  refused: {_text(item.why)}" if item.why else ""
        scores = f"{item.score:.6g} {relation} {self.detector.threshold:.6g}"
        return f"{item.verdict:<3}  {_text(item.class_name):<{self.width}}  {scores}  {_text(item.image)}{why}"


def _text(name: str) -> str:
    """A name as it may be printed: control characters and half characters are spelled out."""
    return name if name.isprintable() else ascii(name)


def _plan(invocation: Invocation, found: Any) -> None:
    missing = [where for where in invocation.extra["images"] if "://" not in where and not Path(where).exists()]
    planned = {
        "model": str(invocation.extra["place"]),
        "dry_run": True,
        "kind": "an exported detector" if found is None else "a classifier" if found[1] else "a run",
        "places": len(invocation.extra["images"]),
        "missing": missing,
    }
    answer(invocation, planned, render_plan(planned))
