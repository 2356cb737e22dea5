"""Round after round: the story of a refinement on the page."""

import json
from html.parser import HTMLParser

import pytest

from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.reporting.page import write_report
from dogfast.reporting.refinement import build_refined
from dogfast.run import publish, to_json
from tests.reporting.made_up_run import HOSTILE, add_evaluation, add_rounds, fill, twins


def test_a_run_without_rounds_tells_of_none(run):
    fill(run)
    assert build_refined(run) == []
    write_report(run, twins(), Events())
    assert "Round after round" not in run.report.read_text()


def test_rounds_risen_and_dropped(run):
    add_rounds(run)
    [one] = build_refined(run)
    assert [(row.number, row.classifier, row.images, row.dropped, row.chosen) for row in one.rounds] == [
        (1, "dog", 40, 0, False),
        (2, "dog~2", 80, 1, True),
    ]
    assert (one.rounds[0].fooled, one.rounds[0].like_id, one.rounds[0].fpr95) == ("50.0", "12.5", "40.0")
    assert [(each.anchor, each.new, each.factor) for each in one.risen] == [("word0", (5, 30), 2.2)]
    assert [(each.anchor, each.number) for each in one.dropped] == [(HOSTILE, 2)] and one.n_dropped == 1


def test_the_page_shows_them_and_escapes_names(run):
    fill(run)
    add_rounds(run)
    write_report(run, twins(), Events())
    page = run.report.read_text()
    text = []
    parser = HTMLParser()
    parser.handle_data = text.append
    parser.feed(page)
    shown = "".join(text)
    assert "Round after round" in shown and "word0" in shown and "5, 30 images round by round, 2.2 × its even share" in shown
    assert "before round 2: CLIP takes 9 of its 9 images" in shown and HOSTILE not in page


def test_one_round_has_nothing_that_rose(run):
    add_rounds(run, rounds=1)
    [one] = build_refined(run)
    assert one.risen == one.dropped == ()


@pytest.mark.parametrize(
    "change",
    [{"rounds": 3}, {"rounds": [3]}, {"rounds": [{}]}, {"chosen": "x"}, {"chosen": float("nan")}, {"ended": 4}],
    ids=str,
)
def test_a_file_that_is_none_is_named(run, change):
    add_rounds(run)
    publish(run.refined("dog"), json.dumps(json.loads(run.refined("dog").read_text()) | change))
    with pytest.raises(DataError, match=r"refined\.json"):
        build_refined(run)


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"conditions": [], "dropped": {}}', '{"conditions": [1], "dropped": []}'])
def test_an_outcome_that_is_none_is_named(run, body):
    add_rounds(run)
    publish(run.round("dog", 2) / "outcome.json", body)
    with pytest.raises(DataError, match=r"outcome\.json"):
        build_refined(run)


@pytest.mark.parametrize("row", [{"anchor": 3}, {"new": "x"}, {"class_name": None}])
def test_a_condition_that_is_none_is_named(run, row):
    add_rounds(run)
    path = run.round("dog", 2) / "outcome.json"
    found = json.loads(path.read_text())
    found["conditions"][0] |= row
    publish(path, to_json(found))
    with pytest.raises(DataError, match=r"outcome\.json"):
        build_refined(run)


def test_the_round_that_was_chosen_is_judged_whatever_the_test_sets_say(run):
    fill(run)
    add_evaluation(run, "dog~2", 0.94, {"near": (0.30, 0.95), "noise": (0.40, 0.90)})
    write_report(run, twins(), Events())
    assert "<code>dog~2</code>" not in headline(run)
    add_rounds(run)
    write_report(run, twins(), Events())
    assert "<code>dog~2</code>" in headline(run)


def headline(run):
    """The verdict's sentences on the page."""
    return run.report.read_text().partition('id="verdict"')[2].partition("</section>")[0]


def test_several_prompts_of_one_anchor_are_counted_together(run):
    add_rounds(run)
    path = run.round("dog", 2) / "outcome.json"
    found = json.loads(path.read_text())
    found["conditions"].append(found["conditions"][0] | {"condition": 7, "new": 10})
    publish(path, to_json(found))
    assert [(each.anchor, each.new) for each in build_refined(run)[0].risen] == [("word0", (5, 40))]
