"""Score histograms before and after: ID against each OOD set, with the threshold that accepts 95 % of ID.

The panels are SVG paths in a unit frame that the page stretches and colours; the same bins make the PNG files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dogfast.numerics.metrics import threshold_at_recall
from dogfast.reporting.drawing import ID_COLOUR, OOD_COLOUR, Tick, new_grid, png_bytes, ticks_of
from dogfast.reporting.figures import percent
from dogfast.reporting.inputs import Evaluation, datasets_of, read_scores, scores_of
from dogfast.reporting.pair import Pair

BINS = 44
FRAME = (100.0, 60.0)
"""Width and height of a panel's drawing units."""
PANELS_AT_MOST = 240
PNG_ROWS, PNG_COLUMNS = 12, 4


# --- how a score is laid on the axis ----------------------------------------------------------------------------
def _log_odds(values: np.ndarray) -> np.ndarray:
    """ln p/(1-p): most probabilities crowd at 1, where a linear axis shows nothing. 1 becomes infinity."""
    p = np.clip(values.astype(np.float64), 0, 1)
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-p)


def _as_it_is(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


AXES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "msp": (_log_odds, "largest softmax probability, spaced by its log-odds"),
    "energy": (_as_it_is, "negative energy, log-sum-exp of the logits"),
}
"""Monotone views of scores: order, threshold and every metric stay what they are."""


# --- data -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Panel:
    """One classifier on one OOD set; the paths are SVG, ``threshold`` and ticks are percent of the width."""

    classifier: str
    fpr95: str
    id_path: str
    rejected_path: str
    accepted_path: str
    threshold: float
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Strip:
    """One OOD set: the pair's panels, on one axis, and those of ``others``, each on its own."""

    dataset: str
    group: str
    panels: tuple[Panel, ...]
    others: tuple[Panel, ...]


@dataclass(frozen=True)
class Chart:
    """One score: ``missing`` names classifiers without stored scores, ``hidden`` how many were too many to draw."""

    axis: str
    strips: tuple[Strip, ...]
    missing: tuple[str, ...]
    hidden: int
    binned: tuple[Binned, ...]


@dataclass(frozen=True)
class Binned:
    """One classifier's scores under one score: shares a bin by data set, from ``low`` to ``high``."""

    evaluation: Evaluation
    low: float
    high: float
    threshold: float
    shares: dict[str, np.ndarray]


def build_charts(evaluations: list[Evaluation], pair: Pair | None) -> dict[str, Chart]:
    return {score: _chart(evaluations, pair, score) for score in scores_of(evaluations)}


def shares_by_bin(values: np.ndarray, low: float, high: float, bins: int = BINS) -> np.ndarray:
    """Share of ``values`` in each bin of [low, high]; what lies outside, infinities too, goes to the outermost bins."""
    if not len(values):
        return np.zeros(bins)
    counts, _ = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    return counts / len(values)


def _chart(evaluations: list[Evaluation], pair: Pair | None, score: str) -> Chart:
    view, axis = AXES.get(score, (_as_it_is, "score"))
    datasets = datasets_of(evaluations)
    first = (pair.before, pair.after) if pair else ()
    found, missing = [], []
    for evaluation in [*first, *(e for e in evaluations if e not in first)]:
        if all(result.score != score for result in evaluation.results):
            continue
        scores = read_scores(evaluation, score)
        if scores is None:
            missing.append(evaluation.name)
        else:
            found.append((evaluation, {name: view(values) for name, values in scores.items()}))
    shown = found[: max(2, PANELS_AT_MOST // max(1, len(datasets) * len(scores_of(evaluations))))]
    compared = [scores for evaluation, scores in shown if evaluation in first]
    common = _union([_range(scores) for scores in compared]) if compared else None
    binned = [_binned(evaluation, scores, common if evaluation in first else None) for evaluation, scores in shown]
    beside = len(compared) or len(binned)
    strips = tuple(_strip(score, name, group, binned[:beside], binned[beside:]) for name, group in datasets.items())
    strips = tuple(strip for strip in strips if strip.panels or strip.others)
    return Chart(axis, strips, tuple(missing), len(found) - len(shown), tuple(binned))


def _binned(evaluation: Evaluation, scores: dict[str, np.ndarray], common: tuple[float, float] | None) -> Binned:
    low, high = common or _range(scores)
    shares = {name: shares_by_bin(values, low, high) for name, values in scores.items()}
    return Binned(evaluation, low, high, threshold_at_recall(scores["id"]), shares)


def _union(ranges: list[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _range(scores: dict[str, np.ndarray]) -> tuple[float, float]:
    """What to show: all sets but their outermost half percent, and at most ID's own width beyond ID on each side."""
    threshold = threshold_at_recall(scores["id"])
    id_low, id_high = _bulk(scores["id"]) or (0.0, 0.0)
    width = max(id_high - id_low, 1e-6)
    bulks = [bulk for values in scores.values() if (bulk := _bulk(values))]
    low = max(min([bulk[0] for bulk in bulks], default=0.0), id_low - width)
    high = min(max([bulk[1] for bulk in bulks], default=0.0), id_high + width)
    if math.isfinite(threshold):
        low, high = min(low, threshold), max(high, threshold)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _bulk(values: np.ndarray) -> tuple[float, float] | None:
    finite = values[np.isfinite(values)]
    return (float(np.quantile(finite, 0.005)), float(np.quantile(finite, 0.995))) if len(finite) else None


# --- panels for the page ----------------------------------------------------------------------------------------
def _strip(score: str, dataset: str, group: str, binned: list[Binned], others: list[Binned]) -> Strip:
    own, more = (
        [_panel(score, dataset, b) for b in part if dataset in b.shares and dataset != "id"] for part in (binned, others)
    )
    return Strip(dataset, group, tuple(own), tuple(more))


def _panel(score: str, dataset: str, binned: Binned) -> Panel:
    id_shares, ood_shares = binned.shares["id"], binned.shares[dataset]
    top = _top(id_shares, ood_shares)
    at = _position(binned.threshold, binned)
    result = binned.evaluation.result(score, dataset)
    return Panel(
        classifier=binned.evaluation.name,
        fpr95=percent(result.fpr95) if result else "–",
        id_path=_steps(id_shares / top, 0, 1),
        rejected_path=_steps(ood_shares / top, 0, at),
        accepted_path=_steps(ood_shares / top, at, 1),
        threshold=round(100 * at, 2),
        ticks=_ticks(score, binned),
    )


def _top(id_shares: np.ndarray, ood_shares: np.ndarray) -> float:
    """Height of the frame: ID fits, and an OOD set that sits in one bin is cut rather than flattening ID."""
    highest_id = float(id_shares.max())
    return max(highest_id, min(float(ood_shares.max()), 1.6 * highest_id), 1e-9) * 1.04


def _position(value: float, binned: Binned) -> float:
    """Where ``value`` stands in the frame, 0 to 1."""
    return float(np.clip((value - binned.low) / (binned.high - binned.low), 0, 1))


def _steps(heights: np.ndarray, start: float, stop: float) -> str:
    """The filled staircase of ``heights`` (parts of the frame's height) between ``start`` and ``stop`` of its width."""
    if stop <= start:
        return ""
    width, height = FRAME
    edges = np.linspace(0, 1, len(heights) + 1)
    parts = [f"M{start * width:.1f} {height:g}"]
    for level, left, right in zip(heights, edges, edges[1:]):
        if right > start and left < stop:
            y = height * (1 - min(level, 1.0))
            parts.append(f"V{y:.1f}H{min(right, stop) * width:.1f}")
    return "".join(parts) + f"V{height:g}Z"


def _ticks(score: str, binned: Binned) -> tuple[Tick, ...]:
    """Round values, three or so, no two closer than their texts allow."""
    if score != "msp":
        return ticks_of(binned.low, binned.high, 8)
    ticks: list[Tick] = []
    for value in (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999):
        at = 100 * (float(_log_odds(np.array(value))) - binned.low) / (binned.high - binned.low)
        if 8 <= at <= 92 and (not ticks or at - ticks[-1].at >= 25):
            ticks.append(Tick(round(at, 1), f"{value:.5f}".rstrip("0").lstrip("0")))
    return tuple(ticks)


# --- the PNG file -----------------------------------------------------------------------------------------------
def histograms_png(score: str, chart: Chart) -> bytes:
    """The same bins as one picture: a row an OOD set, a column a classifier."""
    strips, binned = chart.strips[:PNG_ROWS], chart.binned[:PNG_COLUMNS]
    figure, axes = new_grid(len(strips), len(binned), 2.6, 1.5)
    for i, strip in enumerate(strips):
        for j, one in enumerate(binned):
            _draw(axes[i][j], score, strip.dataset, one, first_row=i == 0, first_column=j == 0)
    title = f"{score[:30]}: ID (blue) against OOD (orange); dashed: 95 % of ID lies to the right"
    figure.suptitle(title, fontsize=9, parse_math=False)
    figure.supxlabel(chart.axis, fontsize=8, parse_math=False)
    return png_bytes(figure)


def _draw(axes, score: str, dataset: str, binned: Binned, first_row: bool, first_column: bool) -> None:
    edges = np.linspace(0, 100, BINS + 1)
    if dataset in binned.shares:
        top = _top(binned.shares["id"], binned.shares[dataset])
        axes.stairs(np.minimum(binned.shares[dataset], top), edges, fill=True, color=OOD_COLOUR, alpha=0.55)
        axes.stairs(binned.shares["id"], edges, color=ID_COLOUR, linewidth=1.4)
        axes.axvline(100 * _position(binned.threshold, binned), color="black", linestyle="--", linewidth=0.8)
        axes.set_ylim(0, top)
        result = binned.evaluation.result(score, dataset)
        if result:
            text = f"FPR95 {percent(result.fpr95)} %"
            axes.text(0.98, 0.88, text, transform=axes.transAxes, fontsize=7, horizontalalignment="right")
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    ticks = _ticks(score, binned)
    axes.set_xticks([tick.at for tick in ticks], [tick.text for tick in ticks], fontsize=6)
    if first_row:
        axes.set_title(binned.evaluation.name[:30], fontsize=8, parse_math=False)
    if first_column:
        axes.set_ylabel(dataset[:20], fontsize=8, parse_math=False)
