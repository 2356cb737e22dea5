"""What the classifiers see: t-SNE of the features of ID images, outliers and OOD images, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from dogfast.detection.measure import PAINTED, VALIDATION
from dogfast.detection.table import ID
from dogfast.errors import DataError
from dogfast.reporting.drawing import ID_COLOUR, OOD_COLOUR, new_figure, png_bytes
from dogfast.reporting.inputs import Evaluation, datasets_of
from dogfast.reporting.pair import Pair

POINTS_AT_MOST = 2000
SHARES = {"id": 0.35, "painted": 0.1, "outliers": 0.2, "ood": 0.35}
"""Of the points, by kind of set; sets of one kind share alike, and a kind that is not there leaves its part free."""
SETS_AT_MOST = 12
COMPONENTS = 50
"""Principal components that t-SNE is given."""
ITERATIONS = 500
PERPLEXITY = 30
LEAST_POINTS = 4
FRAME, MARGIN = 100.0, 3.0
OURS = {ID: ("id", "known"), PAINTED: ("painted", "known, painted"), VALIDATION[1]: ("outliers", "validation outliers")}
"""The kind of the sets that `evaluate` names itself, and what they are called here; every other is an OOD set."""
MARKS = {"id": "h0", "outliers": "h0", "painted": "m-.5-.5l1 1m0-1l-1 1", "ood": "m-.6 0h1.2m-.6-.6v1.2"}
COLOURS = {"id": ID_COLOUR, "painted": ID_COLOUR, "outliers": OOD_COLOUR, "ood": "#009E73"}
"""Of the PNG file; the page has its own for light and dark."""
PNG_MARKERS = {"id": ".", "painted": "x", "outliers": "s", "ood": "+"}


@dataclass(frozen=True)
class Cloud:
    """One set: ``kind`` is of :data:`SHARES`; ``places`` (k, 2) in a frame of 100 by 100."""

    name: str
    kind: str
    places: np.ndarray

    @property
    def path(self) -> str:
        """A dot a point, drawn by the stroke's round or square end, or a cross."""
        return "".join(f"M{x:.1f} {y:.1f}{MARKS[self.kind]}" for x, y in self.places)

    @property
    def mark(self) -> str:
        return f"M0 0{MARKS[self.kind]}"


@dataclass(frozen=True)
class Embedding:
    """One classifier's map."""

    classifier: str
    clouds: tuple[Cloud, ...]

    @property
    def n(self) -> int:
        return sum(len(cloud.places) for cloud in self.clouds)


def build_embeddings(evaluations: list[Evaluation], pair: Pair | None) -> list[Embedding]:
    """Of the pair, or of the first classifier where there is none, as far as features are kept.

    Raises :class:`DataError` for a file that is not as written.
    """
    shown = [pair.before, pair.after] if pair else evaluations[:1]
    return [_embedding(evaluation, sets) for evaluation in shown if (sets := _feature_sets(evaluation))]


def tsne(features: np.ndarray) -> np.ndarray:
    """(n, D) finite features to (n, 2) places in the frame, the same for the same features on one machine; n of at least :data:`LEAST_POINTS`."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    features = features.astype(np.float64)
    if min(features.shape) > COMPONENTS:
        features = PCA(COMPONENTS, random_state=0).fit_transform(features)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", max_iter=ITERATIONS, random_state=0).fit_transform(features)
    return into_frame(places)


def into_frame(places: np.ndarray) -> np.ndarray:
    """One scale for both axes, so that distances stay what they are; (n, 2)."""
    low, high = places.min(axis=0), places.max(axis=0)
    span = max(float((high - low).max()), 1e-9)
    return MARGIN + (FRAME - 2 * MARGIN) * ((places - (low + high) / 2) / span + 0.5)


def evenly(n: int, at_most: int) -> np.ndarray:
    """At most ``at_most`` of ``n`` rows, evenly spaced, so that sets in the order of their classes show every class."""
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).round().astype(int))


# --- reading ----------------------------------------------------------------------------------------------------
def _feature_sets(evaluation: Evaluation) -> dict[str, tuple[str, Path]]:
    """Kind and file by what a set is called here, ID first; empty unless there are features of ID images and of others."""
    files = {unquote(path.stem): path for path in sorted(evaluation.features.glob("*.safetensors"))}
    kinds = OURS | {name: ("ood", name) for name in datasets_of([evaluation])}
    found = {called: (kind, files[name]) for name, (kind, called) in kinds.items() if name in files}
    return dict(list(found.items())[:SETS_AT_MOST]) if ID in files and len(found) > 1 else {}


def _embedding(evaluation: Evaluation, sets: dict[str, tuple[str, Path]]) -> Embedding:
    kinds = [kind for kind, _ in sets.values()]
    rows = [_rows(path, int(POINTS_AT_MOST * SHARES[kind] / kinds.count(kind))) for kind, path in sets.values()]
    if len({part.shape[1] for part in rows}) > 1:
        raise DataError(f"{evaluation.features} holds features of several widths; remove it and run `dogfast evaluate` again")
    if sum(map(len, rows)) < LEAST_POINTS:
        return Embedding(evaluation.name, ())
    places = np.split(tsne(np.concatenate(rows)), np.cumsum([len(part) for part in rows])[:-1])
    return Embedding(evaluation.name, tuple(map(Cloud, sets, kinds, places)))


def _rows(path: Path, at_most: int) -> np.ndarray:
    """Evenly spaced rows of the tensor `features` (n, D); the others are never read."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            table = file.get_slice("features")
            shape = table.get_shape()
            if len(shape) != 2 or not all(shape):
                raise ValueError(f"features of shape {shape}")
            rows = torch.cat([table[int(i) : int(i) + 1] for i in evenly(shape[0], at_most)]).float().numpy()
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}); remove it and run `dogfast evaluate` again") from error
    if not np.isfinite(rows).all():
        raise DataError(f"{path} holds features that are not finite; run `dogfast evaluate` again")
    return rows


# --- the PNG file -----------------------------------------------------------------------------------------------
def embedding_png(embeddings: list[Embedding]) -> bytes:
    figure = new_figure(0.4 + 4.6 * len(embeddings), 5.2)
    grid = figure.subplots(1, len(embeddings), squeeze=False)[0]
    for axes, one in zip(grid, embeddings):
        for kind, marker in PNG_MARKERS.items():
            places = [cloud.places for cloud in one.clouds if cloud.kind == kind]
            if places:
                x, y = np.concatenate(places).T
                axes.scatter(x, FRAME - y, s=9, marker=marker, color=COLOURS[kind], linewidths=0.7, label=kind)
        axes.set_title(one.classifier[:40], fontsize=9, parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
    kinds = dict(zip(*[[found for axes in grid for found in axes.get_legend_handles_labels()[i]] for i in (1, 0)]))
    figure.legend(kinds.values(), kinds, loc="outside lower center", ncols=4, fontsize=8)
    return png_bytes(figure)
