"""The plane of words: order of drawing, and which anchors are named on it."""

import numpy as np
import pytest

from dogfast.errors import DataError
from dogfast.reporting.textmap import (
    HEIGHT,
    MARGIN,
    NAMED,
    WIDTH,
    Box,
    Label,
    named_anchors,
    narrow_labels,
    read_map,
    wide_labels,
)
from dogfast.run import write_jsonl


def row(kind, name, x=0.0, y=0.0):
    return {"kind": kind, "name": name, "class_name": "circle", "x": x, "y": y}


def test_classes_are_drawn_last_and_points_stay_in_the_frame(run):
    write_jsonl(
        run.text_map, [row("class", "circle", 9, -9), row("anchor", "oval"), row("candidate", "ball"), row("else", "x")]
    )
    points = read_map(run)
    assert [point.kind for point in points] == ["candidate", "anchor", "class"]
    assert all(0 <= point.x <= 100 and 0 <= point.y <= 60 for point in points)


def test_the_map_fills_its_frame_by_one_scale(run):
    corners = [row("anchor", "a", -0.1, 0), row("anchor", "b", 0.1, 0.02), row("anchor", "c", 0.0, 0.01)]
    write_jsonl(run.text_map, corners)
    points = {point.name: point for point in read_map(run)}
    assert (points["a"].x, points["b"].x) == (MARGIN, WIDTH - MARGIN)
    assert points["a"].y - points["b"].y == pytest.approx((WIDTH - 2 * MARGIN) / 10), "y as x, and upwards"
    assert points["c"].y == HEIGHT / 2
    write_jsonl(run.text_map, corners[:1])
    assert [(point.x, point.y) for point in read_map(run)] == [(WIDTH / 2, HEIGHT / 2)]


@pytest.mark.parametrize("labels", [wide_labels, narrow_labels])
def test_labels_cover_no_other(run, labels):
    rng = np.random.default_rng(0)
    names = [("class", f"class {n}") for n in range(12)] + [("anchor", f"a rather long word {n}") for n in range(30)]
    write_jsonl(run.text_map, [row(kind, name, *rng.uniform(-1, 1, 2)) for kind, name in names])
    found = labels(read_map(run))
    assert len([label for label in found if label.kind == "class"]) >= 10
    boxes = [box_of(label, narrow=labels is narrow_labels) for label in found]
    for i, a in enumerate(boxes):
        assert a[0] >= -1e-6 and a[2] <= WIDTH + 1e-6
        assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for b in boxes[:i])


def box_of(label: Label, narrow: bool) -> Box:
    size = 3.4 if narrow else 2.0 if label.kind == "class" else 1.35
    width = 0.5 * size * len(label.text)
    left = label.x - {"start": 0, "middle": width / 2, "end": width}[label.align]
    return left, label.y - 0.7 * size, left + width, label.y


def test_a_word_of_two_classes_is_named_once(run):
    write_jsonl(run.text_map, [row("anchor", "oval"), row("anchor", "oval"), row("anchor", "kite"), row("class", "circle")])
    assert [point.name for point in named_anchors(read_map(run))] == ["oval", "kite"]


@pytest.mark.parametrize("count, named", [(NAMED, NAMED), (NAMED + 1, 0)])
def test_too_many_anchors_to_read_are_not_named(run, count, named):
    write_jsonl(run.text_map, [row("anchor", f"word {n}") for n in range(count)])
    assert len(named_anchors(read_map(run))) == named


def test_a_broken_map_is_named(run):
    write_jsonl(run.text_map, [{"kind": "anchor"}])
    with pytest.raises(DataError, match=r"map\.jsonl"):
        read_map(run)
