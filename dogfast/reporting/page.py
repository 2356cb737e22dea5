"""The report of a run: one HTML file that needs nothing else, and its charts as PNG files beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.reporting.distances import CLASSES_AT_MOST, Line, build_lines, distances_png, read_anchor_distances
from dogfast.reporting.figures import count
from dogfast.reporting.gallery import build_gallery, painted_sources
from dogfast.reporting.histograms import Chart, build_charts
from dogfast.reporting.inputs import read_evaluations, read_trainings
from dogfast.reporting.table import build_table
from dogfast.reporting.textmap import NAMED, named_anchors, read_map
from dogfast.reporting.verdict import judge
from dogfast.run import RUN_FILE, Run, publish, read_jsonl

CONFIG_CHARACTERS = 40_000
VETOABLE = 5000
"""Anchors that the page can give back edited; of more the file is edited by hand."""
NAME_LETTERS = 100
VETO = files("dogfast.reporting").joinpath("veto.js").read_text(encoding="utf-8")
"""The page's only script; its digest stands in the page's policy, so that no other runs."""


def write_report(run: Run, id_examples: dict[str, np.ndarray], events: Events) -> dict[str, Any]:
    """Write `report/index.html` and a PNG of each chart; what is not there yet is announced on the page.

    Args:
        id_examples: by class name, uint8 (k, H, W, 3) images of the ID set, shown beside the outliers.

    Returns `report` (path), `classifiers` and `outliers_shown`.

    Raises :class:`DataError` when nothing was painted and nothing evaluated, or when a file is not as a stage writes it.
    """
    evaluations = read_evaluations(run)
    if not evaluations and not painted_sources(run):
        raise DataError(f"{run.root} has nothing to report yet; run `dogfast generate --output {run.root}` first")
    gallery = build_gallery(run, id_examples, read_anchor_distances(run))
    charts, lines, points = build_charts(evaluations), build_lines(run), read_map(run)
    for problem in gallery.problems:
        events.say(problem)
    page = render(
        title=run.root.resolve().name,
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        evaluations=evaluations,
        table=build_table(evaluations),
        verdict=judge(evaluations),
        trainings=read_trainings(run),
        charts=charts,
        gallery=gallery,
        lines=lines[:CLASSES_AT_MOST],
        n_lines=len(lines),
        points=points,
        named_anchors=named_anchors(points),
        named_points=NAMED,
        vetoable=_vetoable(run),
        veto=VETO,
        veto_digest=base64.b64encode(hashlib.sha256(VETO.encode()).digest()).decode(),
        config=_config(run),
        record=_record(run),
    )
    _publish_pngs(run, charts, lines)
    publish(run.report, page.encode("utf-8", "replace"))
    return {"report": str(run.report), "classifiers": len(evaluations), "outliers_shown": gallery.n_outliers}


def render(**view: Any) -> str:
    """The page; every value is escaped, for names and words come from outside."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dogfast.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("template.html.j2").render(**view)


def code_marked(text: str):
    """Escape ``text`` and set what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def sparkline(losses: tuple[float, ...]) -> str:
    """An SVG path over a 100 by 20 frame, highest loss at the top."""
    low, high = min(losses), max(losses)
    step = 100 / max(1, len(losses) - 1)
    heights = (19 - 18 * (loss - low) / ((high - low) or 1) for loss in losses)
    return "M" + "L".join(f"{i * step:.1f} {y:.1f}" for i, y in enumerate(heights))


def short(text: str) -> str:
    """A name as the page can bear it, however long it is."""
    return text if len(text) <= NAME_LETTERS else text[: NAME_LETTERS - 1] + "…"


FILTERS: dict[str, Callable] = {"code": code_marked, "count": count, "short": short, "sparkline": sparkline}


def _vetoable(run: Run) -> str:
    """The anchors as JSON that may stand inside a page; empty where there are none or too many."""
    anchors = read_jsonl(run.anchors) if run.anchors.is_file() else []
    return json.dumps(anchors).replace("<", "\\u003c") if 0 < len(anchors) <= VETOABLE else ""


def _config(run: Run) -> str:
    if not run.config_file.is_file():
        return ""
    return run.config_file.read_text(errors="replace")[:CONFIG_CHARACTERS]


def _record(run: Run) -> dict[str, Any]:
    """Versions and stages of `run.json`, as texts."""
    state = run.state if (run.root / RUN_FILE).is_file() else {}
    versions = state.get("versions")
    stages = state.get("stages", {})
    return {
        "versions": {str(k): str(v) for k, v in versions.items()} if isinstance(versions, dict) else {},
        "stages": {str(k): json.dumps(v, indent=2, sort_keys=True)[:CONFIG_CHARACTERS] for k, v in stages.items()},
    }


def _publish_pngs(run: Run, charts: list[Chart], lines: list[Line]) -> None:
    """Charts under their score's name, reduced to letters that any file system takes."""
    folder = run.report.parent
    for position, chart in enumerate(charts):
        if chart.png:
            slug = re.sub(r"[^a-z0-9]+", "-", chart.score.lower()).strip("-")[:40] or str(position)
            publish(folder / f"histograms-{slug}.png", chart.png)
    if lines:
        publish(folder / "anchors.png", distances_png(lines))
