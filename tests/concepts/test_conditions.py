"""Conditions: what each strategy makes of the findings."""

import copy

from dogfast.concepts.strategies import STRATEGIES, Findings
from dogfast.config.synthesis import STRATEGIES as NAMES
from dogfast.synthesis.conditions import read_conditions

NAMES_OF_CLASSES = ("ship {}", "bird", "frog", "cat")
WORDS = ("lynx", "oil rig", "newt")
ANCHORS = [{"word": "lynx", "owner": 3}, {"word": "oil rig", "owner": 0}]


def findings(prompt="a photo of a {}", top_k=2, anchors=ANCHORS):
    near_names = [[WORDS[word] for word in row[:top_k]] for row in ([1, 2, 0], [0, 1, 2], [2, 1, 0], [0, 2, 1])]
    keys = [[f"{name}/{n}" for n in range(6)] for name in NAMES_OF_CLASSES]
    return Findings(NAMES_OF_CLASSES, anchors, prompt, near_names, keys, [[0, 1], [2], [], [3]])


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


def test_a_class_is_painted_over_its_own_images():
    found = STRATEGIES["visual-reconstruction"](findings())
    assert len(found) == 24 and {(c["start_t"], c["guidance_scale"]) for c in found} == {(500, 1.0)}
    for c in found:
        assert c["start"] == [[c["anchor"], 1.0]] and c["anchor"].startswith(c["class_name"])
        assert c["text"] == [[f"a photo of a {c['class_name']}", 1.0]]


def test_only_a_share_of_very_many_images_is_begun_at(monkeypatch):
    from dogfast.concepts.strategies import findings as module

    monkeypatch.setattr(module, "STARTS_AT_MOST", 8)
    for name in ("visual-reconstruction", "visual-interpolation"):
        found = STRATEGIES[name](findings())
        assert [c["cls"] for c in found] == [0, 0, 1, 1, 2, 2, 3, 3] and found == STRATEGIES[name](findings())


def test_images_are_mixed_with_those_of_other_classes():
    found = STRATEGIES["visual-interpolation"](findings())
    assert len(found) == 24 and {c["text"][0][0] for c in found} == {""}
    for c in found:
        (one, share), (other, rest) = c["start"]
        assert one.startswith(c["class_name"]) and not other.startswith(c["class_name"])
        assert share in (0.3, 0.4, 0.5, 0.6, 0.7) and share + rest == 1
    assert len({c["start"][0][1] for c in found}) > 1


def test_names_are_mixed_at_five_shares():
    found = STRATEGIES["textual-interpolation"](findings("a {}"))
    assert len(found) == 4 * 3 * 5
    assert found[0]["text"] == [["a ship {}", 0.3], ["a bird", 0.7]]
    assert all(c["text"][0][0] == f"a {c['class_name']}" and sum(w for _, w in c["text"]) == 1 for c in found)


def test_a_names_states_are_perturbed():
    found = STRATEGIES["textual-perturbation"](findings("a {}"))
    assert [(c["text"], c["text_noise"]) for c in found][1] == ([["a bird", 1.0]], 0.3) and len(found) == 4


def test_boundary_words_are_rows_of_their_table():
    found = STRATEGIES["boundary"](findings())
    assert [(c["cls"], c["text"][0][0]["row"]) for c in found] == [(0, 0), (0, 1), (1, 2), (3, 3)]


def test_edited_anchors_leave_dog_and_what_names_alone_can_say():
    bare = Findings(NAMES_OF_CLASSES, ANCHORS, "a {}")
    empty = {name for name, choose in STRATEGIES.items() if not choose(bare)}
    assert empty == {"visual-reconstruction", "visual-interpolation", "textual-near-ood", "boundary"}


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
