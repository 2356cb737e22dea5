"""`--anchors FILE`: what a person left of the anchors is what is painted, and mistakes are named with their line."""

import json

import pytest

from dogfast.concepts.edited import read_edited
from dogfast.errors import DataError, UsageError

NAMES = ("cat", "polar bear")
GOOD = [{"class_name": "polar_bear", "word": "walrus"}, {"class_name": "cat", "word": "lynx", "note": "mine"}]


def written(tmp_path, rows):
    path = tmp_path / "anchors.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_anchors_are_read_by_class(tmp_path):
    assert read_edited(written(tmp_path, GOOD), NAMES) == [
        {"class_name": "cat", "word": "lynx", "note": "mine", "owner": 0, "kept": True},
        {"class_name": "polar bear", "word": "walrus", "owner": 1, "kept": True},
    ]


@pytest.mark.parametrize(
    "row, message",
    [
        ({"class_name": "cat"}, "anchor 3: 'word' is missing"),
        ({"class_name": "cat", "word": " "}, "anchor 3: 'word' is missing"),
        ({"class_name": "cat", "word": 7}, "anchor 3: 'word' is missing"),
        ({"class_name": "dog", "word": "wolf"}, "anchor 3: 'dog' is none of the classes"),
        ({"word": "wolf"}, "anchor 3: None is none of the classes"),
        ({"class_name": "Cat", "word": "Lynx"}, "anchor 3: 'Lynx' stands twice"),
        ("{", "line 3: not JSON"),
    ],
)
def test_mistakes_are_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        read_edited(written(tmp_path, [*GOOD, row]), NAMES)


def test_every_class_needs_an_anchor(tmp_path):
    with pytest.raises(DataError, match="has no anchor for 'polar bear'"):
        read_edited(written(tmp_path, GOOD[1:]), NAMES)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"--anchors .*gone.jsonl' is no file"):
        read_edited(tmp_path / "gone.jsonl", NAMES)
