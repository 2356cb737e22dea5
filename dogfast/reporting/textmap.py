"""The plane of words: what a class is called, what was learned for it, and the words around it."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.reporting.inputs import number_of, text_of
from dogfast.run import Run, read_jsonl

KINDS = ("candidate", "anchor", "pseudo-word", "class")
"""In the order they are drawn, the last on top."""
NAMED = 40
"""Class names written beside their points, at most, and anchors where there are no more."""


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
            round(50 + 47 * max(-1.0, min(1.0, number_of(row, "x", path))), 2),
            round(30 - 27 * max(-1.0, min(1.0, number_of(row, "y", path))), 2),
        )
        for row in read_jsonl(path)
    ]
    return sorted((point for point in points if point.kind in KINDS), key=lambda point: KINDS.index(point.kind))


def named_anchors(points: list[Point]) -> list[Point]:
    """Anchors whose words are written beside them, each once; none where there are too many to read."""
    once = {point.name: point for point in points if point.kind == "anchor"}
    return list(once.values()) if len(once) <= NAMED else []
