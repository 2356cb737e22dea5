"""The plane of words: order of drawing, and which anchors are named on it."""

import pytest

from dogfast.errors import DataError
from dogfast.reporting.textmap import NAMED, named_anchors, read_map
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
