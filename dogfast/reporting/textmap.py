"""The plane of words: what a class is called, what was learned for it, and the words around it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dogfast.reporting.drawing import ID_COLOUR, OOD_COLOUR, OTHER_COLOUR, new_figure, png_bytes
from dogfast.reporting.inputs import number_of, text_of
from dogfast.run import Run, read_jsonl

KINDS = ("candidate", "anchor", "pseudo-word", "class")
"""In the order they are drawn, the last on top."""
NAMED = 40
"""Class names written beside their points, at most, and anchors where there are no more."""
WIDTH, HEIGHT, MARGIN = 100.0, 60.0, 3.0
CLASS_SIZE, CLASS_SIZE_NARROW, WORD_SIZE = 2.0, 3.4, 1.35
"""Of letters, in units of the frame: on a wide page, on a phone, and of anchors."""
LETTER_WIDTH = 0.58
"""Of a letter's size."""
DOT = 0.8
LABEL_LETTERS = 24


@dataclass(frozen=True)
class Point:
    """``x`` and ``y`` in a frame of 100 by 60."""

    kind: str
    name: str
    class_name: str
    x: float
    y: float

    @property
    def says(self) -> str:
        return self.name if self.kind == "class" else f"{self.name}, {self.kind} of {self.class_name}"


@dataclass(frozen=True)
class Label:
    """A word beside its point, at a place where it covers no other; ``align`` is SVG's text-anchor."""

    kind: str
    text: str
    x: float
    y: float
    align: str


def read_map(run: Run) -> list[Point]:
    """The points of a run, in drawing order; empty where none were written. Raises :class:`DataError` for a broken file."""
    path = run.text_map
    if not path.is_file():
        return []
    points = [
        Point(
            text_of(row, "kind", path),
            text_of(row, "name", path),
            text_of(row, "class_name", path),
            max(-1.0, min(1.0, number_of(row, "x", path))),
            max(-1.0, min(1.0, number_of(row, "y", path))),
        )
        for row in read_jsonl(path)
    ]
    return _fitted(sorted((point for point in points if point.kind in KINDS), key=lambda point: KINDS.index(point.kind)))


def named_anchors(points: list[Point]) -> list[Point]:
    """Anchors whose words are written beside them, each once; none where there are too many to read."""
    once = {point.name: point for point in points if point.kind == "anchor"}
    return list(once.values()) if len(once) <= NAMED else []


def wide_labels(points: list[Point]) -> list[Label]:
    """For a wide page: class names, then anchors, as far as there is room."""
    taken = _dots(points)
    return _placed(_classes(points), CLASS_SIZE, taken) + _placed(named_anchors(points), WORD_SIZE, taken)


def narrow_labels(points: list[Point]) -> list[Label]:
    """For a phone: class names in larger letters."""
    return _placed(_classes(points), CLASS_SIZE_NARROW, _dots(_classes(points)))


def _classes(points: list[Point]) -> list[Point]:
    return [point for point in points if point.kind == "class"][:NAMED]


def _fitted(points: list[Point]) -> list[Point]:
    """As large as the frame allows, by one scale for both axes, y upwards."""
    if not points:
        return []
    (left, right), (low, high) = ((min(v), max(v)) for v in ([p.x for p in points], [p.y for p in points]))
    scale = min((WIDTH - 2 * MARGIN) / max(right - left, 1e-6), (HEIGHT - 2 * MARGIN) / max(high - low, 1e-6))
    return [
        replace(
            point,
            x=round(WIDTH / 2 + scale * (point.x - (left + right) / 2), 2),
            y=round(HEIGHT / 2 - scale * (point.y - (low + high) / 2), 2),
        )
        for point in points
    ]


# --- labels without collisions ----------------------------------------------------------------------------------
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _dots(points: list[Point]) -> list[Box]:
    return [(p.x - DOT, p.y - DOT, p.x + DOT, p.y + DOT) for p in points if p.kind in ("class", "anchor")]


def _placed(points: list[Point], size: float, taken: list[Box]) -> list[Label]:
    """A label a point, above, below, right or left of it, where nothing is ``taken``; what finds no room has none."""
    labels = []
    for point in points:
        text = point.name if len(point.name) <= LABEL_LETTERS else point.name[: LABEL_LETTERS - 1] + "…"
        width, away = LETTER_WIDTH * size * len(text), DOT + 0.3
        places = (
            (point.x, point.y - away, "middle", point.x - width / 2),
            (point.x, point.y + away + 0.75 * size, "middle", point.x - width / 2),
            (point.x + away, point.y + 0.35 * size, "start", point.x + away),
            (point.x - away, point.y + 0.35 * size, "end", point.x - away - width),
        )
        for x, baseline, align, left in places:
            box = (left, baseline - 0.75 * size, left + width, baseline + 0.2 * size)
            if box[0] >= 0 and box[1] >= 0 and box[2] <= WIDTH and box[3] <= HEIGHT and not any(_meet(box, b) for b in taken):
                taken.append(box)
                labels.append(Label(point.kind, text, round(x, 2), round(baseline, 2), align))
                break
    return labels


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


# --- the PNG file -----------------------------------------------------------------------------------------------
def map_png(points: list[Point]) -> bytes:
    marks = {
        "candidate": (".", OTHER_COLOUR),
        "anchor": ("s", OOD_COLOUR),
        "pseudo-word": ("D", ID_COLOUR),
        "class": ("o", ID_COLOUR),
    }
    figure = new_figure(9, 5.6)
    axes = figure.subplots()
    for kind, (marker, colour) in marks.items():
        found = [point for point in points if point.kind == kind]
        face = "none" if kind == "pseudo-word" else colour
        places = [point.x for point in found], [-point.y for point in found]
        axes.scatter(*places, s=16, marker=marker, edgecolors=colour, facecolors=face, linewidths=0.8, label=kind)
    for label in wide_labels(points):
        align = {"start": "left", "middle": "center", "end": "right"}[label.align]
        size = 8 if label.kind == "class" else 6
        axes.text(label.x, -label.y, label.text, fontsize=size, parse_math=False, horizontalalignment=align)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(fontsize=7)
    return png_bytes(figure)
