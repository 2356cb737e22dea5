"""Conditions: what each strategy makes of the findings."""

import copy

from dogfast.concepts.conditions import STRATEGIES, Findings
from dogfast.config.synthesis import STRATEGIES as NAMES
from dogfast.synthesis.conditions import read_conditions

NAMES_OF_CLASSES = ("ship {}", "bird", "frog", "cat")
WORDS = ("lynx", "oil rig", "newt")
ANCHORS = [{"word": "lynx", "owner": 3}, {"word": "oil rig", "owner": 0}]


def findings(prompt="a photo of a {}", top_k=2, anchors=ANCHORS):
    near_names = [[1, 2, 0], [0, 1, 2], [2, 1, 0], [0, 2, 1]]
    return Findings(NAMES_OF_CLASSES, WORDS, anchors, [row[:top_k] for row in near_names], prompt)


def test_dog_makes_one_condition_of_every_anchor_in_order():
    given = findings()
    before = copy.deepcopy(given.anchors)
    found = STRATEGIES["dog"](given)
    assert [c["text"] for c in found] == [[["a photo of a lynx", 1.0]], [["a photo of a oil rig", 1.0]]]
    assert [(c["cls"], c["class_name"], c["anchor"], c["strategy"]) for c in found] == [
        (3, "cat", "lynx", "dog"),
        (0, "ship {}", "oil rig", "dog"),
    ]
    assert before == given.anchors and STRATEGIES["dog"](findings(anchors=[])) == []


def test_textual_near_ood_takes_the_words_nearest_to_each_name():
    found = STRATEGIES["textual-near-ood"](findings(top_k=2))
    assert [(c["cls"], c["anchor"]) for c in found] == [
        (0, "oil rig"), (0, "newt"), (1, "lynx"), (1, "oil rig"), (2, "newt"), (2, "oil rig"), (3, "lynx"), (3, "newt")
    ], "nearest first: m smaller than K paints the nearest"  # fmt: skip
    assert {c["strategy"] for c in found} == {"textual-near-ood"}


def test_id_control_paints_the_classes_themselves():
    found = STRATEGIES["id-control"](findings("a {}"))
    assert [(c["cls"], c["anchor"], c["text"][0][0]) for c in found][:2] == [(0, "ship {}", "a ship {}"), (1, "bird", "a bird")]
    assert len(found) == 4


def test_only_the_slot_is_replaced():
    """A prompt and a word are text, not format strings."""
    given = findings("{x} {} {{", anchors=[{"word": "{0}", "owner": 0}])
    assert STRATEGIES["dog"](given)[0]["text"] == [["{x} {0} {{", 1.0]]


def test_the_flag_knows_every_strategy():
    assert tuple(STRATEGIES) == NAMES


def test_synthesis_reads_its_own_strategy_of_what_is_written(tmp_path):
    from dogfast.run import write_jsonl

    found = {name: choose(findings("{}")) for name, choose in STRATEGIES.items()}
    write_jsonl(tmp_path / "conditions.jsonl", [c for conditions in found.values() for c in conditions])
    for name, conditions in found.items():
        assert read_conditions(tmp_path / "conditions.jsonl", name) == conditions
