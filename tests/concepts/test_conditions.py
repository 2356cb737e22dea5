"""Conditions: one prompt an anchor."""

import copy

from dogfast.concepts.conditions import STRATEGIES, dog
from dogfast.synthesis.conditions import read_conditions

ANCHORS = [
    {"word": "lynx", "owner": 3, "class_name": "cat", "distance": 0.7, "kept": True},
    {"word": "oil rig", "owner": 0, "class_name": "ship {}", "distance": 0.6, "kept": True},
]


def test_every_anchor_becomes_one_condition_in_order():
    before = copy.deepcopy(ANCHORS)
    found = dog(ANCHORS, "a photo of a {}")
    assert [c["text"] for c in found] == [[["a photo of a lynx", 1.0]], [["a photo of a oil rig", 1.0]]]
    assert [(c["cls"], c["class_name"], c["anchor"], c["strategy"]) for c in found] == [
        (3, "cat", "lynx", "dog"),
        (0, "ship {}", "oil rig", "dog"),
    ]
    assert before == ANCHORS
    assert STRATEGIES["dog"] is dog and dog([], "{}") == []


def test_only_the_slot_is_replaced():
    """A prompt and a word are text, not format strings."""
    anchors = [{"word": "{0}", "owner": 0, "class_name": "a"}]
    assert dog(anchors, "{x} {} {{")[0]["text"] == [["{x} {0} {{", 1.0]]


def test_synthesis_reads_what_is_written(tmp_path):
    from dogfast.run import write_jsonl

    found = dog(ANCHORS, "{}")
    write_jsonl(tmp_path / "conditions.jsonl", found)
    assert read_conditions(tmp_path / "conditions.jsonl") == found
