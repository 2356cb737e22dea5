"""ROC curves before and after: at every threshold, how much ID passes for how much OOD that passes with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dogfast.reporting.drawing import ID_COLOUR, OTHER_COLOUR, new_grid, path_of, png_bytes, thinned
from dogfast.reporting.figures import percent
from dogfast.reporting.inputs import Evaluation, datasets_of, read_scores, scores_of
from dogfast.reporting.pair import Pair

FRAME = 100.0
"""Side of a plot's drawing units: percent of OOD to the right, percent of ID upwards."""
TOLERANCE = 0.25
"""Percent that a drawn curve may lie off the exact one."""
CURVES_AT_MOST = 480
PNG_SETS, PNG_COLUMNS = 24, 4


@dataclass(frozen=True)
class Curve:
    """One classifier on one OOD set; ``path`` is SVG, ``fpr95`` percent or None where it was not measured."""

    classifier: str
    path: str
    auroc: str
    fpr95: float | None
    points: np.ndarray


@dataclass(frozen=True)
class Plot:
    """One OOD set: its curves, the baseline's first."""

    dataset: str
    group: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Roc:
    """One score; ``hidden`` counts OOD sets that are too many to draw."""

    plots: tuple[Plot, ...]
    hidden: int


def build_rocs(evaluations: list[Evaluation], pair: Pair | None) -> dict[str, Roc]:
    """By score, of the pair, or of the first classifier where there is none."""
    shown = [pair.before, pair.after] if pair else evaluations[:1]
    scores = scores_of(shown)
    most = max(1, CURVES_AT_MOST // max(1, len(scores) * len(shown)))
    return {score: _roc(shown, score, most) for score in scores}


def roc_points(id_scores: np.ndarray, ood_scores: np.ndarray) -> np.ndarray:
    """(k, 2): shares of OOD (n_ood,) and of ID (n_id,) with a score of at least each threshold, from (0, 0) to (1, 1).

    Scores become ranks first, so that infinite ones are as good as any; ties make one step.
    """
    from scipy.stats import rankdata
    from sklearn.metrics import roc_curve

    ranks = rankdata(np.concatenate([id_scores, ood_scores]), method="dense")
    accepted_ood, accepted_id, _ = roc_curve(np.arange(len(ranks)) < len(id_scores), ranks)
    return np.stack([accepted_ood, accepted_id], axis=1)


def _roc(shown: list[Evaluation], score: str, most: int) -> Roc:
    stored = [(evaluation, read_scores(evaluation, score)) for evaluation in shown]
    plots = []
    for dataset, group in datasets_of(shown).items():
        curves = [_curve(e, score, dataset, tensors) for e, tensors in stored if tensors and len(tensors.get(dataset, ()))]
        if curves and dataset != "id":
            plots.append(Plot(dataset, group, tuple(curves)))
    return Roc(tuple(plots[:most]), max(0, len(plots) - most))


def _curve(evaluation: Evaluation, score: str, dataset: str, tensors: dict[str, np.ndarray]) -> Curve:
    points = thinned(FRAME * roc_points(tensors["id"], tensors[dataset]), TOLERANCE)
    result = evaluation.result(score, dataset)
    path = path_of((x, FRAME - y) for x, y in points)
    return Curve(
        evaluation.name, path, percent(result.auroc) if result else "–", 100 * result.fpr95 if result else None, points
    )


# --- the PNG file -----------------------------------------------------------------------------------------------
def roc_png(score_label: str, roc: Roc) -> bytes:
    plots = roc.plots[:PNG_SETS]
    columns = min(PNG_COLUMNS, len(plots))
    figure, grid = new_grid(-(-len(plots) // columns), columns, 2.6, 2.7)
    axes = grid.ravel()
    for place, plot in zip(axes, plots):
        place.axhline(95, color="black", linewidth=0.7, linestyle=":")
        for i, curve in enumerate(plot.curves):
            style = {"color": OTHER_COLOUR, "linestyle": "--"} if i < len(plot.curves) - 1 else {"color": ID_COLOUR}
            place.plot(*curve.points.T, label=f"{curve.classifier[:20]} {curve.auroc}", linewidth=1.6, **style)
        place.set_title(plot.dataset[:30], fontsize=8, parse_math=False)
        for text in place.legend(fontsize=6, loc="lower right").get_texts():
            text.set_parse_math(False)
        place.tick_params(labelsize=6)
    for place in axes[len(plots) :]:
        place.set_axis_off()
    title = f"{score_label[:30]}: ID that passes against OOD, percent; legend: AUROC"
    figure.suptitle(title, fontsize=9, parse_math=False)
    return png_bytes(figure)
