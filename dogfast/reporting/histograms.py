"""Score histograms before and after: ID against each OOD set, with the threshold that accepts 95 % of ID.

The panels are SVG paths in a unit frame that the page stretches and colours; the same bins make the PNG files.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dogfast.reporting.figures import percent
from dogfast.reporting.inputs import Evaluation, datasets_of, read_scores, score_label, scores_of

BINS = 44
FRAME = (100.0, 60.0)
"""Width and height of a panel's drawing units."""
PANELS_AT_MOST = 240
PNG_ROWS, PNG_COLUMNS = 12, 8
ID_COLOUR, OOD_COLOUR = "#0072B2", "#D55E00"


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
class Tick:
    at: float
    text: str


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
    """One OOD set: a panel a classifier."""

    dataset: str
    group: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Chart:
    """One score: ``missing`` names classifiers without stored scores, ``hidden`` how many were too many to draw."""

    score: str
    label: str
    axis: str
    strips: tuple[Strip, ...]
    missing: tuple[str, ...]
    hidden: int
    png: bytes | None


@dataclass(frozen=True)
class Binned:
    """One classifier's scores under one score: shares a bin by data set, on a common range."""

    evaluation: Evaluation
    low: float
    high: float
    threshold: float
    shares: dict[str, np.ndarray]


def build_charts(evaluations: list[Evaluation]) -> list[Chart]:
    return [_chart(evaluations, score) for score in scores_of(evaluations)]


def recall_threshold(id_scores: np.ndarray, recall: float = 0.95) -> float:
    """The largest threshold that accepts at least ``recall`` of ``id_scores`` (n,), S >= threshold being accepted."""
    return float(np.sort(id_scores)[len(id_scores) - math.ceil(recall * len(id_scores))])


def shares_by_bin(values: np.ndarray, low: float, high: float, bins: int = BINS) -> np.ndarray:
    """Share of ``values`` in each bin of [low, high]; what lies outside, infinities too, goes to the outermost bins."""
    if not len(values):
        return np.zeros(bins)
    counts, _ = np.histogram(np.clip(values, low, high), bins=bins, range=(low, high))
    return counts / len(values)


def _chart(evaluations: list[Evaluation], score: str) -> Chart:
    view, axis = AXES.get(score, (_as_it_is, "score"))
    datasets = datasets_of(evaluations)
    binned, missing = [], []
    for evaluation in evaluations:
        if all(result.score != score for result in evaluation.results):
            continue
        scores = read_scores(evaluation, score)
        if scores is None:
            missing.append(evaluation.name)
        else:
            binned.append(_binned(evaluation, {name: view(values) for name, values in scores.items()}))
    shown = binned[: max(1, PANELS_AT_MOST // max(1, len(datasets) * len(scores_of(evaluations))))]
    strips = tuple(_strip(score, name, group, shown) for name, group in datasets.items())
    strips = tuple(strip for strip in strips if strip.panels)
    png = _png(score, axis, strips, shown) if strips else None
    return Chart(score, score_label(score), axis, strips, tuple(missing), len(binned) - len(shown), png)


def _binned(evaluation: Evaluation, scores: dict[str, np.ndarray]) -> Binned:
    threshold = recall_threshold(scores["id"])
    low, high = _range(scores, threshold)
    shares = {name: shares_by_bin(values, low, high) for name, values in scores.items()}
    return Binned(evaluation, low, high, threshold, shares)


def _range(scores: dict[str, np.ndarray], threshold: float) -> tuple[float, float]:
    """What to show: all sets but their outermost half percent, and at most ID's own width beyond ID on each side."""
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
def _strip(score: str, dataset: str, group: str, binned: list[Binned]) -> Strip:
    return Strip(dataset, group, tuple(_panel(score, dataset, b) for b in binned if dataset in b.shares and dataset != "id"))


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
        ticks=tuple(_ticks(score, binned)),
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


def _ticks(score: str, binned: Binned) -> list[Tick]:
    """Round values, three or so, no two closer than their texts allow."""
    if score == "msp":
        values = [0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]
        marks = [(float(_log_odds(np.array(v))), f"{v:.5f}".rstrip("0").lstrip("0")) for v in values]
    else:
        marks = [(value, f"{value:.4g}".replace("-", "−")) for value in _round_values(binned.low, binned.high)]
    ticks: list[Tick] = []
    for value, text in marks:
        at = 100 * (value - binned.low) / (binned.high - binned.low)
        if 8 <= at <= 92 and (not ticks or at - ticks[-1].at >= 25):
            ticks.append(Tick(round(at, 1), text))
    return ticks


def _round_values(low: float, high: float) -> list[float]:
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


# --- the PNG file -----------------------------------------------------------------------------------------------
def _png(score: str, axis: str, strips: tuple[Strip, ...], binned: list[Binned]) -> bytes:
    """The same bins as one picture: a row an OOD set, a column a classifier."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    strips, binned = strips[:PNG_ROWS], binned[:PNG_COLUMNS]
    figure = Figure(figsize=(1.2 + 2.6 * len(binned), 0.9 + 1.5 * len(strips)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(strips), len(binned), squeeze=False)
    for i, strip in enumerate(strips):
        for j, one in enumerate(binned):
            _draw(axes[i][j], score, strip.dataset, one, first_row=i == 0, first_column=j == 0)
    title = f"{score_label(score)[:30]}: ID (blue) against OOD (orange); dashed: 95 % of ID lies to the right"
    figure.suptitle(title, fontsize=9, parse_math=False)
    figure.supxlabel(axis, fontsize=8, parse_math=False)
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


def png_bytes(figure) -> bytes:
    """Render ``figure``; a glyph the font lacks is drawn as a box, without a warning."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(file, format="png")
    return file.getvalue()
