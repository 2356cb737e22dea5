"""Anchors on their distance line: per class, where each word stands between the class's own name and lambda (Eq. 6)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from dogfast.reporting.drawing import ID_COLOUR, OOD_COLOUR, Tick, new_figure, png_bytes
from dogfast.reporting.inputs import is_number, number_of, text_of
from dogfast.run import Run, read_jsonl

CLASSES_AT_MOST = 60
WORDS_AT_MOST = 1000
WORDS_OF_A_CLASS = 40
"""Kept, and as many dropped, words drawn; those nearest to the bound first. The page says how many are left out."""
MARGIN = 4.0
"""Percent of the width left free at both ends."""
NARROW_PX, WIDE_PX = 320.0, 720.0
"""Widths for which labels are placed: a phone, and anything from a tablet on."""
LETTER_PX, GAP_PX = 6.9, 10.0
LABEL_LETTERS = 16
LANES_KEPT, LANES_DROPPED = 3, 2
PNG_CLASSES = 24


@dataclass(frozen=True)
class Word:
    """One word of one class; ``x`` is percent of the width. ``fits``: narrow, wide or "" (shown on hover and focus)."""

    word: str
    distance: float
    kept: bool
    reason: str
    x: float = 0.0
    lane: int = 0
    fits: str = ""

    @property
    def label(self) -> str:
        return self.word if len(self.word) <= LABEL_LETTERS else self.word[: LABEL_LETTERS - 1] + "…"

    @property
    def align(self) -> str:
        return "start" if self.x < 15 else "end" if self.x > 85 else "middle"


@dataclass(frozen=True)
class Line:
    """One class. Counts are of all its words, ``words`` only those drawn."""

    class_name: str
    bound: float
    limit: float
    bound_x: float
    limit_x: float
    words: tuple[Word, ...]
    ticks: tuple[Tick, ...]
    n_kept: int
    n_dropped: int
    n_hidden: int

    @property
    def kept(self) -> list[Word]:
        return [word for word in self.words if word.kept]

    @property
    def dropped(self) -> list[Word]:
        return [word for word in self.words if not word.kept]


def read_anchor_distances(run: Run) -> dict[tuple[str, str], float]:
    """Distance by class name and word, for the gallery's captions."""
    if not run.anchors.is_file():
        return {}
    return {
        (text_of(row, "class_name", run.anchors), text_of(row, "word", run.anchors)): number_of(row, "distance", run.anchors)
        for row in read_jsonl(run.anchors)
        if "distance" in row  # a word that a person added has none
    }


def build_lines(run: Run) -> list[Line]:
    """A line a class in order of class index; empty when no anchors were found yet.

    `anchors.jsonl` may be edited and decides what is kept; `candidates.jsonl` adds what was dropped, and why.
    """
    if not run.anchors.is_file():
        return []
    anchors = read_jsonl(run.anchors)
    candidates = read_jsonl(run.candidates) if run.candidates.is_file() else []
    scales: dict[tuple[int, str], tuple[float, float]] = {}
    words: dict[tuple[int, str], dict[str, Word]] = defaultdict(dict)
    for path, rows, from_anchors in ((run.anchors, anchors, True), (run.candidates, candidates, False)):
        for row in rows:
            word = text_of(row, "word", path)
            owner = (int(number_of(row, "owner", path)), text_of(row, "class_name", path))
            if word in words[owner] or not is_number(row.get("distance")):
                continue
            if is_number(row.get("bound")) and is_number(row.get("limit")):
                scales.setdefault(owner, (float(row["bound"]), float(row["limit"])))
            reason = "" if from_anchors else "taken out by hand" if row.get("kept") is True else str(row.get("reason") or "")
            words[owner][word] = Word(word, float(row["distance"]), from_anchors, reason)
    shown = min(WORDS_OF_A_CLASS, max(4, WORDS_AT_MOST // (2 * max(1, min(len(scales), CLASSES_AT_MOST)))))
    return [_line(owner[1], *scales[owner], list(words[owner].values()), shown) for owner in sorted(scales)]


def _line(class_name: str, bound: float, limit: float, words: list[Word], shown: int) -> Line:
    kept = sorted((w for w in words if w.kept), key=lambda w: w.distance)
    dropped = sorted((w for w in words if not w.kept), key=lambda w: abs(w.distance - bound))
    drawn = kept[:shown] + dropped[:shown]
    values = [bound, limit, *(w.distance for w in drawn)]
    low, high = min(values), max(values)
    low, high = (low, high) if high - low > 1e-6 else (low - 0.05, high + 0.05)

    def place(distance: float) -> float:
        return round(MARGIN + (100 - 2 * MARGIN) * (distance - low) / (high - low), 2)

    placed = [replace(word, x=place(word.distance)) for word in drawn]
    placed = _labelled([w for w in placed if not w.kept], LANES_DROPPED) + _labelled([w for w in placed if w.kept], LANES_KEPT)
    ticks = tuple(Tick(place(v), f"{v:.3f}") for v in (low, (low + high) / 2, high))
    hidden = len(words) - len(drawn)
    return Line(class_name, bound, limit, place(bound), place(limit), tuple(placed), ticks, len(kept), len(dropped), hidden)


# --- labels without collisions ----------------------------------------------------------------------------------
def _labelled(words: list[Word], lanes: int) -> list[Word]:
    """Give labels, nearest words first, to as many as fit in the lanes: on a phone, then on a wide page too."""
    labelled: dict[int, Word] = {}
    order = sorted(range(len(words)), key=lambda i: words[i].distance)
    for fits, width_px in (("narrow", NARROW_PX), ("wide", WIDE_PX)):
        taken = [(*_extent(word, width_px), word.lane) for word in labelled.values()]
        for i in order:
            if i in labelled:
                continue
            extent = _extent(words[i], width_px)
            lane = next((lane for lane in range(lanes) if not _collides(extent, lane, taken)), None)
            if lane is not None:
                labelled[i] = replace(words[i], lane=lane, fits=fits)
                taken.append((*extent, lane))
    return [labelled.get(i, word) for i, word in enumerate(words)]


def _extent(word: Word, width_px: float) -> tuple[float, float]:
    """Left and right end of a word's label in pixels."""
    x, length = word.x * width_px / 100, LETTER_PX * len(word.label)
    left = {"start": x, "middle": x - length / 2, "end": x - length}[word.align]
    return left, left + length


def _collides(extent: tuple[float, float], lane: int, taken: list[tuple[float, float, int]]) -> bool:
    return any(lane == other and extent[0] < right + GAP_PX and left < extent[1] + GAP_PX for left, right, other in taken)


# --- the PNG file -----------------------------------------------------------------------------------------------
def distances_png(lines: list[Line]) -> bytes:
    """The first classes' lines as one picture, on one common axis."""
    lines = lines[:PNG_CLASSES]
    figure = new_figure(9, 1.1 + 0.42 * len(lines))
    axes = figure.subplots()
    for y, line in enumerate(lines):
        axes.plot([line.bound, line.limit], [y, y], color=OOD_COLOUR, linewidth=7, alpha=0.25, solid_capstyle="butt")
        axes.plot([w.distance for w in line.dropped], [y] * len(line.dropped), "x", color="grey", markersize=4)
        axes.plot([w.distance for w in line.kept], [y] * len(line.kept), "o", color=OOD_COLOUR, markersize=4)
        axes.plot([line.bound], [y], "|", color=ID_COLOUR, markersize=16, markeredgewidth=2)
    axes.set_yticks(range(len(lines)), [line.class_name[:40] for line in lines], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel("distance of Eq. 6; blue: the class's own name; band: to lambda; dots kept, crosses dropped", fontsize=8)
    return png_bytes(figure)
