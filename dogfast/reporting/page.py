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
from dogfast.reporting.costs import build_costs
from dogfast.reporting.curves import curves_png, read_trainings
from dogfast.reporting.distances import CLASSES_AT_MOST, build_lines, distances_png, read_anchor_distances
from dogfast.reporting.embedding import build_embeddings, embedding_png
from dogfast.reporting.figures import count
from dogfast.reporting.gallery import build_gallery, contact_sheet, painted_sources
from dogfast.reporting.histograms import build_charts, histograms_png
from dogfast.reporting.inputs import Evaluation, read_evaluations, score_label, scores_of
from dogfast.reporting.overview import build_overview
from dogfast.reporting.pair import pair_of
from dogfast.reporting.refinement import build_refined
from dogfast.reporting.roc import build_rocs, roc_png
from dogfast.reporting.shifts import build_shifts, shifts_png
from dogfast.reporting.table import build_table
from dogfast.reporting.textmap import map_png, narrow_labels, read_map, wide_labels
from dogfast.reporting.throughput import build_paintings, throughput_png
from dogfast.reporting.verdict import judge
from dogfast.run import RUN_FILE, Run, publish, read_jsonl

CONFIG_CHARACTERS = 40_000
VETOABLE = 5000
"""Anchors that the page can give back edited; of more the file is edited by hand."""
NAME_LETTERS = 100
PAGE_MB = 8
"""What the page stays below for any run of a paper's size; what grows with classes and images is bounded, and says what it leaves out."""
VETO = files("dogfast.reporting").joinpath("templates", "veto.js").read_text(encoding="utf-8")
"""The page's only script; its digest stands in the page's policy, so that no other runs."""


def write_report(run: Run, id_examples: dict[str, np.ndarray], events: Events) -> dict[str, Any]:
    """Write `report/index.html` and a PNG of each chart; what is not there yet is announced on the page.

    Args:
        id_examples: by class name, uint8 (k, H, W, 3) images of the ID set, shown beside the outliers.

    Returns `report` (path), `classifiers`, `outliers_shown` and `bytes` (of the page).

    Raises :class:`DataError` when nothing was painted and nothing evaluated, or when a file is not as a stage writes it.
    """
    evaluations, sources = read_evaluations(run), painted_sources(run)
    if not evaluations and not sources:
        raise DataError(f"{run.root} has nothing to report yet; run `dogfast generate --output {run.root}` first")
    view = _view(run, evaluations, id_examples, events)
    pngs = _pngs(view)
    page = render(**view, pngs=pngs.keys()).encode("utf-8", "replace")
    for name, png in pngs.items():
        publish(run.report.parent / name, png)
    publish(run.report, page)
    if len(page) > PAGE_MB * 1_000_000:
        events.say(f"the page has {len(page) / 1e6:.0f} MB: {len(evaluations)} classifiers on many sets under many scores")
    shown = view["gallery"].n_outliers
    return {"report": str(run.report), "classifiers": len(evaluations), "outliers_shown": shown, "bytes": len(page)}


def _view(run: Run, evaluations: list[Evaluation], id_examples: dict[str, np.ndarray], events: Events) -> dict[str, Any]:
    """All that the page shows, by the name that the templates know it by."""
    refined = build_refined(run)
    pair = pair_of(evaluations, [row.classifier for story in refined for row in story.rounds if row.chosen])
    gallery = build_gallery(run, id_examples, read_anchor_distances(run))
    for problem in gallery.problems:
        events.say(problem)
    shifts, lines, points, paintings = build_shifts(pair), build_lines(run), read_map(run), build_paintings(run)
    embeddings = build_embeddings(evaluations, pair)
    return {
        "title": run.root.resolve().name,
        "written": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "evaluations": evaluations,
        "pair": pair,
        "scores": {score: score_label(score) for score in scores_of(evaluations)},
        "verdict": judge(evaluations, pair, shifts),
        "shifts": shifts,
        "table": build_table(evaluations),
        "charts": build_charts(evaluations, pair),
        "rocs": build_rocs(evaluations, pair),
        "costs": build_costs(evaluations),
        "embeddings": embeddings,
        "clouds": {cloud.name: cloud for one in embeddings for cloud in one.clouds},
        "overview": build_overview(pair, gallery, paintings, sum(line.n_kept for line in lines)),
        "gallery": gallery,
        "lines": lines[:CLASSES_AT_MOST],
        "n_lines": len(lines),
        "points": points,
        "labels": {"wide": wide_labels(points), "narrow": narrow_labels(points)},
        "refined": refined,
        "paintings": paintings,
        "trainings": read_trainings(run),
        "vetoable": _vetoable(run),
        "veto": VETO,
        "veto_digest": base64.b64encode(hashlib.sha256(VETO.encode()).digest()).decode(),
        "config": _config(run),
        "record": _record(run),
    }


def _pngs(view: dict[str, Any]) -> dict[str, bytes]:
    """The picture of each chart that there is, by its file's name."""
    pngs: dict[str, bytes] = {}
    for score, label in view["scores"].items():
        shifts, chart, roc = view["shifts"].get(score), view["charts"][score], view["rocs"].get(score)
        if shifts:
            pngs[f"changes-{slug(score)}.png"] = shifts_png(shifts, view["pair"])
        if chart.strips:
            pngs[f"histograms-{slug(score)}.png"] = histograms_png(score, chart)
        if roc and roc.plots:
            pngs[f"roc-{slug(score)}.png"] = roc_png(label, roc)
    others = {
        "features": ([embedding for embedding in view["embeddings"] if embedding.clouds], embedding_png),
        "outliers": (view["gallery"].classes, contact_sheet),
        "anchors": (view["lines"], distances_png),
        "words": (view["points"], map_png),
        "throughput": ([painting for painting in view["paintings"] if len(painting.rates)], throughput_png),
        "training": ([training for training in view["trainings"] if training.series], curves_png),
    }
    return pngs | {f"{name}.png": png_of(content) for name, (content, png_of) in others.items() if content}


def render(**view: Any) -> str:
    """The page; every value is escaped, for names and words come from outside."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("dogfast.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template("page.html.j2").render(**view)


def code_marked(text: str):
    """Escape ``text`` and set what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def short(text: str, letters: int = NAME_LETTERS) -> str:
    """A name as the page can bear it, however long it is."""
    return text if len(text) <= letters else text[: letters - 1] + "…"


def slug(name: str) -> str:
    """Reduced to letters that any file system takes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "score"


FILTERS: dict[str, Callable] = {"code": code_marked, "count": count, "short": short, "slug": slug}


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
