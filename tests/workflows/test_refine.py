"""The closed loop: what is painted next, what is dropped, what every round learns from, and that it goes on where it was."""

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import dogfast.workflows.refine as module
import dogfast.workflows.refinement.planning as planning
from dogfast.classifiers.loading import RECORD_FILE
from dogfast.data import shapes
from dogfast.data.catalogue import load_id
from dogfast.data.splits import is_validation_outlier, is_validation_word
from dogfast.detection.detector import Detector
from dogfast.errors import DataError, RunMismatch, UsageError
from dogfast.reporting.refinement import build_refined
from dogfast.rounds import Round, plan_file, read_outcome, read_round, write_outcome
from dogfast.run import Run, publish, read_json
from dogfast.shards.format import sample_key, shard_of
from dogfast.shards.reader import read_records
from dogfast.shards.selection import load_selected
from dogfast.synthesis.plan import Segment, read_segments
from dogfast.workflows import api
from dogfast.workflows.refinement.looks import Looks, why_contaminant
from dogfast.workflows.refinement.posterior import Tried, allot
from dogfast.workflows.refinement.request import Refinement

CONTAMINANT = "bent ring"


# --- who is painted more of -------------------------------------------------------------------------------------
def test_what_fools_most_is_painted_most_and_every_class_gets_as_many():
    tried = [Tried(0, 0, 20, 1), Tried(1, 0, 20, 10), Tried(2, 0, 20, 1), Tried(3, 1, 4, 4)]
    counts = allot(tried, {0: 200, 1: 150}, "seed", 2)
    assert counts[1] > 190 and counts[3] == 150 and sum(counts[row] for row in (0, 1, 2) if row in counts) == 200


def test_what_was_seldom_tried_is_tried_again():
    often, seldom = Tried(0, 0, 400, 120), Tried(1, 0, 2, 0)
    counts = allot([often, seldom], {0: 300}, 0)
    assert 40 < counts[1] < 260, counts


def test_draws_are_a_function_of_seed_round_and_class_alone():
    first = [Tried(row, row % 2, 9, row) for row in range(8)]
    more = {0: 50, 1: 50}
    assert allot(first, more, 0, "dog", 2) == allot(first[::-1], more, 0, "dog", 2)
    assert allot(first, more, 0, "dog", 2) != allot(first, more, 1, "dog", 2)
    even = [each for each in first if each.cls == 0]
    whole = allot(first, more, 0, "dog", 2)
    assert allot(even, more, 0, "dog", 2) == {row: count for row, count in whole.items() if row % 2 == 0}


def test_as_often_as_the_posterior_says():
    """Two conditions of Beta(2, 1) and Beta(1, 2): the first draw is the larger one with probability 5/6."""
    counts = allot([Tried(0, 0, 1, 1), Tried(1, 0, 1, 0)], {0: 20_000}, "share")
    assert counts[0] / 20_000 == pytest.approx(5 / 6, abs=0.01)


# --- who is dropped ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "like_id, distance, part",
    [
        (5, 0.5, ""),
        (6, 0.5, "CLIP takes 6 of its 10"),
        (0, 0.29, "nearer to the class's name"),
        (0, 0.3, ""),
        (0, float("nan"), ""),
    ],
)
def test_contaminants(like_id, distance, part):
    found = why_contaminant(10, like_id, distance, 0.3)
    assert part in found and bool(part) == bool(found)


def test_a_condition_of_few_images_is_not_judged():
    assert why_contaminant(3, 2, 0.1, 0.3) and not why_contaminant(2, 2, 0.1, 0.3)


# --- which round is the best ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "rounds, best, without_gain",
    [
        ([(0.90, 0.5)], 0, 0),
        ([(0.90, 0.5), (0.90, 0.4)], 1, 0),
        ([(0.90, 0.5), (0.90, 0.5), (0.90, 0.6)], 0, 2),
        ([(0.90, 0.5), (0.88, 0.1)], 0, 1),
        ([(0.90, 0.5), (0.90, 0.4), (0.92, 0.6)], 1, 1),
        ([(0.90, 0.5), (0.895, 0.4), (0.92, 0.3)], 2, 0),
    ],
    ids=["alone", "lower", "no lower", "accuracy lost", "a later gain in accuracy undoes nothing", "lower again"],
)
def test_the_best_round_and_how_many_followed_it(rounds, best, without_gain):
    rows = [{"accuracy": accuracy, "fpr95": fpr95} for accuracy, fpr95 in rounds]
    assert (module.best_round(rows), module.rounds_without_gain(rows)) == (best, without_gain)


# --- what a round learns from -----------------------------------------------------------------------------------
def test_a_round_holds_its_first_shards_without_what_was_dropped():
    one = Round(2, frozenset({4}))
    assert one.holds({"key": sample_key(1, 9), "condition": 3})
    assert not one.holds({"key": sample_key(2, 0), "condition": 3}) and not one.holds({"key": sample_key(0, 0), "condition": 4})


def test_a_run_that_was_never_refined_has_no_rounds(tmp_path):
    with pytest.raises(DataError, match="round 1 of 'dog' is not planned"):
        read_round(Run(tmp_path), "dog", 1)


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{",
        '{"shards": 1}',
        '{"shards": -1, "dropped": []}',
        '{"shards": true, "dropped": []}',
        '{"shards": 1, "dropped": [3]}',
        '{"shards": 1, "dropped": [{"condition": "3"}]}',
        '{"shards": 1, "dropped": [{"condition": 3}]}',
    ],
)
def test_a_plan_that_is_none_is_named(tmp_path, body):
    run = Run(tmp_path)
    publish(plan_file(run, "dog", 1), body)
    with pytest.raises(DataError, match=r"rounds/dog/1"):
        read_round(run, "dog", 1)


CONDITION = {"condition": 0, "cls": 0, "class_name": "ring", "anchor": "oval", "images": 4, "accepted": 1, "like_id": 0}
CONDITION |= {"distance": 0.4, "new": 4, "fooled": 2, "fooled_in_all": 2, "new_like_id": 0}
OUTCOME = {
    "round": 1,
    "classifier": "dog",
    "images": 4,
    "new": 4,
    "fooled": 0.5,
    "like_id": 0,
    "accepted": 0.25,
    "seconds": 1.5,
}
OUTCOME |= {"shards": 1, "dropped": [], "conditions": [CONDITION], "bounds": {"ring": 0.2}}
OUTCOME |= {"validation": {"fpr95": 0.4, "accuracy": 0.9}}


def test_an_outcome_is_read_as_it_was_written(tmp_path):
    write_outcome(Run(tmp_path), "dog", 1, OUTCOME)
    assert read_outcome(Run(tmp_path), "dog", 1) == OUTCOME and read_outcome(Run(tmp_path), "dog", 2) is None


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in OUTCOME),
        *(
            {"conditions": [CONDITION | {name: None}]}
            for name in ("condition", "cls", "images", "fooled_in_all", "distance", "anchor")
        ),
        {"conditions": [3]},
        {"conditions": [CONDITION | {"images": -1}]},
        {"round": 2},
        {"dropped": [{"condition": "x"}]},
        {"bounds": {}},
        {"bounds": {"ring": "x"}},
        {"validation": [1]},
        {"validation": {"fpr95": 0.4}},
        {"validation": {"fpr95": 0.4, "accuracy": float("nan")}},
        {"images": True},
    ],
    ids=str,
)
def test_an_outcome_that_is_none_is_named(tmp_path, change):
    write_outcome(Run(tmp_path), "dog", 1, OUTCOME | change)
    with pytest.raises(DataError, match=r"rounds/dog/1/outcome\.json is no outcome of round 1; remove it"):
        read_outcome(Run(tmp_path), "dog", 1)


# --- the loop, with a fake generator ----------------------------------------------------------------------------
class FakeLooker:
    """CLIP's word by the words: one anchor is ID, all others are far."""

    def __init__(self, config, data, words, painted, events):
        self.bounds = dict.fromkeys(data.class_names, 0.3)

    def __call__(self, images, facts):
        return Looks(torch.tensor([each["anchor"] == CONTAMINANT for each in facts]), torch.full((len(facts),), 0.5))


@pytest.fixture(autouse=True)
def looker(monkeypatch):
    monkeypatch.setattr(module, "Looker", FakeLooker)


@pytest.fixture
def judged(monkeypatch):
    """What validation says of every round; FPR95 falls unless a test says otherwise."""
    fpr = [0.5, 0.4, 0.3, 0.2]
    monkeypatch.setattr(
        module,
        "judged_on_validation",
        lambda config, *of: {"accuracy": 0.9, "fpr95": fpr[config.training.round - 1]},
    )
    return fpr


@pytest.fixture
def killed_in(monkeypatch):
    """A refinement that ends where it first calls a function of its module."""

    def fails(*given):
        raise KeyboardInterrupt

    @contextmanager
    def until(function):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, function, fails)
            yield

    return until


def counts_of(run):
    return [dict(segment.counts) for segment in read_segments(run.plan("dog"))]


def test_every_round_paints_trains_and_tells(tmp_path, config, judged, said):
    result = api.refine(config(synthesis={"m": 6}), tmp_path / "run", said.sink, rounds=3)
    run = Run(tmp_path / "run")
    assert [row["classifier"] for row in result["rounds"]] == ["dog", "dog~2", "dog~3"]
    assert (result["chosen"], result["classifier"], result["ended"]) == (3, "dog~3", "--rounds 3")
    assert {path.name for path in run.root.glob("classifiers/*")} == {"ce", "dog", "dog~2", "dog~3"}
    dog = [row for row in map(json.loads, run.conditions.open()) if row["strategy"] == "dog"]
    contaminant = next(row for row, condition in enumerate(dog) if condition["anchor"] == CONTAMINANT)
    first, *later = counts_of(run)
    validating = [row for row, condition in enumerate(dog) if is_validation_word(condition["anchor"])]
    kept_out = [sum(counts.get(row, (0, 0))[1] for row in validating) for counts in (first, *later)]
    painted = Counter(dog[row]["cls"] for counts in later for row, (_, count) in counts.items() for _ in range(count))
    assert set(painted.values()) == {12}, "six of each class in a round"
    for row in validating:
        others = [other for other, condition in enumerate(dog) if condition["cls"] == dog[row]["cls"] and other != row]
        assert others and sum(counts.get(row, (0, 0))[1] for counts in (first, *later)) == 18 // (1 + len(others)), (
            "its even share"
        )
    assert [row["new"] for row in result["rounds"]] == [48 - few for few in kept_out], "six of each of eight classes"
    told = [{row["condition"]: row for row in read_outcome(run, "dog", n)["conditions"]} for n in (1, 2, 3)]
    for row, last in told[-1].items():
        assert last["fooled_in_all"] == sum(each[row]["fooled"] for each in told if row in each) <= last["images"]
    assert contaminant in first and not any(contaminant in counts for counts in later), "what is ID is painted no more"
    assert [row["dropped"] for row in result["rounds"]] == [0, 1, 1]
    assert result["rounds"][1]["images"] == 96 - sum(kept_out[:2]) - first[contaminant][1], "nor does it train"
    records = [read_json(run.classifier(name) / RECORD_FILE)["identity"] for name in ("ce", "dog", "dog~2", "dog~3")]
    assert "dropped" not in records[1] and records[2]["dropped"] == records[3]["dropped"]
    sums = [read_json(run.classifier(name) / RECORD_FILE)["sha256"][:16] for name in ("ce", "dog", "dog~2")]
    assert [record["start"] for record in records[1:]] == sums, "each starts from the one before"
    assert said.holds("round 2: ")


def test_the_same_command_does_nothing_again(tmp_path, config, judged, world):
    result = api.refine(config(), tmp_path / "run", rounds=2)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.json") if path.name != "refined.json"}
    del world[:]
    assert api.refine(config(), tmp_path / "run", rounds=2) == result and world == ["anchors"], "it asks whose they are"
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert api.refine(config(), tmp_path / "run", rounds=3)["rounds"][:2] == result["rounds"], "more rounds go on from there"


def test_equal_seeds_plan_equal_segments(tmp_path, config, judged):
    for name in ("one", "other"):
        api.refine(config(), tmp_path / name, rounds=3)
    one, other = (sorted((tmp_path / name / "plan" / "dog").glob("*")) for name in ("one", "other"))
    assert len(one) == 3 and [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_a_run_that_was_trained_before_is_gone_on_with(tmp_path, config, judged, world):
    trained = api.train(config(), tmp_path / "run")
    del world[:]
    api.refine(config(), tmp_path / "run", rounds=2)
    assert world.count("train") == 2 and trained["name"] == "dog", "the first round's training stands, and says so"
    assert api.train(config(training={"round": 1}), tmp_path / "run")["resumed"], "later rounds make no other training of it"
    seen = [read_json(Run(tmp_path / "run").classifier(name) / RECORD_FILE)["identity"] for name in ("dog", "dog~2")]
    api.train(config(training={"objective": "oe"}), tmp_path / "run")
    everything = read_json(Run(tmp_path / "run").classifier("oe") / RECORD_FILE)["identity"]
    assert everything["outliers"] == seen[1]["outliers"] != seen[0]["outliers"], "a training of no round sees all"


def test_more_can_be_painted_after_a_refinement(tmp_path, config, judged):
    before = api.refine(config(), tmp_path / "run", rounds=2)
    api.generate(config(synthesis={"m": 8}), tmp_path / "run")
    run, total = Run(tmp_path / "run"), Counter()
    conditions = [row for row in map(json.loads, run.conditions.open()) if row["strategy"] == "dog"]
    for counts in counts_of(run):
        for row, (_, count) in counts.items():
            total[conditions[row]["cls"]] += count
    assert set(total.values()) == {8} and sum(r["samples"] for r in read_records(run.outliers("dog"))) == 64
    assert api.refine(config(), tmp_path / "run", rounds=2) == before, "what stands, stands"


@pytest.mark.parametrize("patience, rounds", [(1, 2), (2, 3)])
def test_it_ends_where_validation_sees_no_gain(tmp_path, config, judged, patience, rounds):
    judged[1:3] = [0.5, 0.6]
    result = api.refine(config(), tmp_path / "run", rounds=4, patience=patience)
    assert (len(result["rounds"]), result["chosen"]) == (rounds, 1) and "without a lower FPR95" in result["ended"]


def test_it_ends_where_nothing_is_left(tmp_path, config, judged, monkeypatch):
    monkeypatch.setattr(
        FakeLooker, "__call__", lambda self, images, facts: Looks(torch.ones(len(facts), dtype=bool), torch.ones(len(facts)))
    )
    result = api.refine(config(synthesis={"m": 6}), tmp_path / "run", rounds=3)
    assert (len(result["rounds"]), result["ended"]) == (1, "every condition was dropped")


def test_a_class_that_lost_all_conditions_is_told(tmp_path, config, judged, monkeypatch, said):
    def look(self, images, facts):
        return Looks(torch.tensor([each["class_name"] == "ring" for each in facts]), torch.ones(len(facts)))

    monkeypatch.setattr(FakeLooker, "__call__", look)
    api.refine(config(synthesis={"m": 24}), tmp_path / "run", said.sink, rounds=2)
    assert said.holds("ring: every condition that may train was dropped") and not said.holds("circle: every condition")
    first, second = (sum(count for _, count in counts.values()) for counts in counts_of(Run(tmp_path / "run")))
    assert first == second == 8 * 24, "its share is painted by the other classes"


def test_rounds_are_told_as_soon_as_they_are_over(tmp_path, config, judged, killed_in):
    with killed_in("rounds_without_gain"):
        api.refine(config(), tmp_path / "run", rounds=2)
    (story,) = build_refined(Run(tmp_path / "run"))
    assert len(story.rounds) == 1 and story.ended.startswith("not ended yet")
    api.refine(config(), tmp_path / "run", rounds=2)
    (story,) = build_refined(Run(tmp_path / "run"))
    assert len(story.rounds) == 2 and story.ended == "--rounds 2"


@pytest.mark.parametrize("change", [{"classifier": "ce"}, {"shards": 1}], ids=str)
def test_an_outcome_of_another_classifier_or_plan_does_not_stand(tmp_path, config, judged, change):
    api.refine(config(), tmp_path / "run", rounds=2)
    run, outcome = Run(tmp_path / "run"), read_outcome(Run(tmp_path / "run"), "dog", 2)
    write_outcome(run, "dog", 2, outcome | change)
    assert api.refine(config(), run.root, rounds=2)["classifier"] == "dog~2"
    assert read_outcome(run, "dog", 2) | {"seconds": 0} == outcome | {"seconds": 0}


@pytest.mark.parametrize("stage", ["append_segment", "write_plan", "generate", "train", "tally", "write_outcome"])
def test_what_failed_in_any_step_is_gone_on_with(tmp_path, config, judged, monkeypatch, stage):
    import dogfast.workflows.chain as chain

    whole = api.refine(config(), tmp_path / "whole", rounds=2)
    place = {"append_segment": planning, "write_plan": planning, "generate": chain, "train": chain}.get(stage, module)
    own, calls = getattr(place, stage), []

    def fails(*given, **named):
        if (Run(tmp_path / "run").round("dog", 1) / "outcome.json").exists():
            calls.append(stage)
            raise KeyboardInterrupt
        return own(*given, **named)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, stage, fails)
        api.refine(config(), tmp_path / "run", rounds=2)
    assert calls == [stage]
    found = api.refine(config(), tmp_path / "run", rounds=2)
    strip = [{key: value for key, value in row.items() if key != "seconds"} for row in found["rounds"]]
    assert strip == [{key: value for key, value in row.items() if key != "seconds"} for row in whole["rounds"]]
    weights = [(tmp_path / name / "classifiers" / "dog~2" / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1] and len(counts_of(Run(tmp_path / "run"))) == 2


@pytest.mark.parametrize(
    "number, lost", [(1, "outcome.json"), (1, "plan.json"), (2, "outcome.json"), (2, "plan.json"), (2, "*.json")]
)
def test_a_file_of_a_round_that_is_removed_is_made_again_from_what_stands(tmp_path, config, judged, lost, number):
    def files():
        return {path: path.read_bytes() for path in (tmp_path / "run/rounds/dog").glob("[0-9]/plan.json")}

    whole = api.refine(config(), tmp_path / "run", rounds=3)
    run, before = Run(tmp_path / "run"), files()
    segments = counts_of(run)
    for path in run.round("dog", number).glob(lost):
        path.unlink()
    found = api.refine(config(), tmp_path / "run", rounds=3)
    assert counts_of(run) == segments and files() == before
    assert [row["new"] for row in found["rounds"]] == [row["new"] for row in whole["rounds"]]


def test_a_first_round_that_lost_its_classifier_trains_it_on_its_own_shards(tmp_path, config, judged, world):
    api.refine(config(), tmp_path / "run", rounds=2)
    run = Run(tmp_path / "run")
    shards, weights = read_round(run, "dog", 1).shards, (run.classifier("dog") / "model.safetensors").read_bytes()
    shutil.rmtree(run.classifier("dog"))
    del world[:]
    api.refine(config(), tmp_path / "run", rounds=2)
    assert world.count("train") == 1 and read_round(run, "dog", 1).shards == shards
    assert (run.classifier("dog") / "model.safetensors").read_bytes() == weights


def test_a_plan_that_was_removed_is_told(tmp_path, config, judged, monkeypatch):
    api.refine(config(), tmp_path / "run", rounds=2)
    run = Run(tmp_path / "run")
    shutil.rmtree(run.plan("dog"))
    shutil.rmtree(run.outliers("dog"))
    shutil.rmtree(run.classifier("dog"))
    api.generate(config(synthesis={"m": 1}), run.root)
    monkeypatch.setattr(module, "run_generate", lambda *given: None)
    with pytest.raises(DataError, match=r"round 1 is of 3 shards.* plans 1; remove .*rounds/dog to refine anew"):
        api.refine(config(), tmp_path / "run", rounds=2)


def test_what_is_id_does_not_count_as_fooling(tmp_path, config, judged, monkeypatch):
    monkeypatch.setattr(Detector, "__call__", lambda self, images: SimpleNamespace(known=torch.ones(len(images), dtype=bool)))
    api.refine(config(synthesis={"m": 6}), tmp_path / "run", rounds=1)
    rows = read_outcome(Run(tmp_path / "run"), "dog", 1)["conditions"]
    fooled = {row["anchor"]: row["fooled"] for row in rows}
    assert fooled.pop(CONTAMINANT) == 0
    assert fooled == {row["anchor"]: row["new"] for row in rows if row["anchor"] != CONTAMINANT}


def test_fewer_outliers_than_conditions_are_enough(tmp_path, config, judged):
    result = api.refine(config(synthesis={"m": 1}), tmp_path / "run", rounds=4)
    painted = [sum(count for _, count in counts.values()) for counts in counts_of(Run(tmp_path / "run"))]
    assert painted == [8] * 4 and result["ended"] == "--rounds 4"


def test_validation_words_never_take_more_than_a_round_has(tmp_path, config):
    conditions = [{"cls": 0, "anchor": word, "strategy": "dog"} for word in ("x", *shapes.VALIDATION_WORDS[:2])]
    job = SimpleNamespace(class_of=[0, 0, 0], conditions=conditions)
    segments = [Segment(0, 8, {0: (0, 1)}), Segment(1, 8, {0: (1, 1)})]
    assert sum(planning._validating(job, segments, 1).values()) == 1


def test_every_round_is_judged_on_what_the_first_one_painted(tmp_path, config, judged):
    api.refine(config(synthesis={"m": 6}), tmp_path / "run", rounds=2)
    run, first = Run(tmp_path / "run"), read_outcome(Run(tmp_path / "run"), "dog", 1)["shards"]
    painted = config(data={"classes": "cifar10"})  # shapes have validation images of their own
    data = load_id(config().data)
    own = load_selected(run.outliers("dog"), 16, data.codec, is_validation_outlier)
    of_first = [shard_of(facts["key"]) < first for facts in own.facts]
    assert 0 < sum(of_first) < len(of_first)
    assert torch.equal(module._validation(painted, run, "dog", data), own.images[torch.tensor(of_first)])


# --- what cannot be refined -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "training, part",
    [
        ({"objective": "ce"}, "--objective ce"),
        ({"objective": "oal"}, "--objective oal"),
        ({"outliers": "noise"}, "--outliers noise"),
        ({"outliers": "boundary"}, "--outliers boundary"),
        ({"outliers": "renders"}, "--outliers renders"),
        ({"objective": "poem"}, "--objective poem"),
        ({"follow": True}, "--follow"),
        ({"tune": ("lr=1,2",)}, "--tune"),
    ],
)
def test_what_has_no_rounds_is_refused(tmp_path, config, training, part):
    with pytest.raises(UsageError, match=part):
        api.refine(config(training=training), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "fields, flag", [({"rounds": 0}, "--rounds"), ({"patience": 0}, "--patience"), ({"score": "x"}, "--score")]
)
def test_ranges(fields, flag):
    with pytest.raises(UsageError, match=flag):
        Refinement(**fields)


def test_other_fields_are_refused_once_a_round_is_over(tmp_path, config, judged):
    api.refine(config(), tmp_path / "run", rounds=1)
    with pytest.raises(RunMismatch, match="m: was 3, now 4"):
        api.refine(config(synthesis={"m": 4}), tmp_path / "run", rounds=2)
    with pytest.raises(RunMismatch, match="'dog', now 'oe'"):
        api.refine(config(training={"objective": "oe"}), tmp_path / "run", rounds=2)
    for synthesis in ({"seed": 5}, {"templates": ("a {}", "one {}")}):
        with pytest.raises(RunMismatch, match=r"seed: was 0, now 5|templates: was"):
            api.refine(config(synthesis=synthesis), tmp_path / "run", rounds=2)
        with pytest.raises(RunMismatch, match=r"seed: was 0, now 5|templates: was"):
            api.refine(config(synthesis=synthesis), tmp_path / "run", rounds=1)
    assert len(counts_of(Run(tmp_path / "run"))) == 1, "nothing is planned for them"


def test_outliers_that_are_gone_are_not_dealt_anew(tmp_path, config, judged):
    api.refine(config(), tmp_path / "run", rounds=1)
    run = Run(tmp_path / "run")
    shutil.rmtree(run.outliers("dog"))
    with pytest.raises(DataError, match=r"outliers/dog has lost the outliers of round 1; remove .*rounds/dog to refine anew"):
        api.refine(config(), run.root, rounds=2)
    assert len(counts_of(run)) == 1


def test_more_than_a_source_holds_is_refused_before_it_is_planned(tmp_path, config, judged, monkeypatch):
    api.refine(config(), tmp_path / "run", rounds=1)
    monkeypatch.setattr(planning, "fits", lambda segments: False)
    with pytest.raises(UsageError, match="round 2 would bring 'dog' to more than a source can hold"):
        api.refine(config(), tmp_path / "run", rounds=2)
    assert len(counts_of(Run(tmp_path / "run"))) == 1


@pytest.mark.parametrize(
    "fields, part",
    [
        ({"training": {"lr": 0.2}}, "lr: was 0.05, now 0.2"),
        ({"training": {"epochs": 2}}, "epochs: was 1, now 2"),
        ({"detection": {"scores": ("energy",)}}, "scores: was"),
        ({"detection": {"ash_percentile": 70}}, "ash_percentile: was 0, now 70"),
    ],
)
def test_rounds_are_all_trained_and_judged_alike(tmp_path, config, judged, fields, part):
    api.refine(config(), tmp_path / "run", rounds=1)
    changed = config().with_values(fields, "test")
    with pytest.raises(RunMismatch, match=part):
        api.refine(changed, tmp_path / "run", rounds=2)


def test_what_was_added_to_an_unfinished_first_round_belongs_to_it(tmp_path, config, judged, killed_in):
    with killed_in("run_train"):
        api.refine(config(), tmp_path / "run", rounds=1)
    whole = api.refine(config(synthesis={"m": 6}), tmp_path / "run", rounds=1)
    run = Run(tmp_path / "run")
    assert read_round(run, "dog", 1).shards == len(list(run.outliers("dog").glob("*.tar"))) and whole["rounds"][0]["new"] > 24


def test_rounds_repeat_no_batches_of_each_other(tmp_path, config, judged, monkeypatch):
    import dogfast.training.stage as stage

    seeds, own = [], stage.fit

    def fit(*given, **named):
        seeds.append((given[3].seed[0] if given[3] else None, given[5].train_seed))
        return own(*given, **named)

    monkeypatch.setattr(stage, "fit", fit)
    api.refine(config(), tmp_path / "run", rounds=3)
    of_start, *of_rounds = seeds
    assert of_start == (None, 0) and of_rounds[0] == (0, 0) and len(set(of_rounds)) == 3
    assert all(order == drawn for order, drawn in of_rounds)


def test_no_anchor_to_judge_rounds_by_is_said_before_anything_is_painted(tmp_path, config, world, monkeypatch):
    monkeypatch.setattr(module, "is_validation_outlier", lambda facts: False)
    check, other = module._require_validation, config(data={"classes": "cifar10"})
    monkeypatch.setattr(module, "_require_validation", lambda job, m: check(replace(job, config=other), m))
    with pytest.raises(DataError, match=r"no outlier of 'dog' would be of a validation word .*--top-k.*--m"):
        api.refine(config(), tmp_path / "run", rounds=2)
    assert "generate" not in world


def test_what_is_painted_already_may_validate(tmp_path, config, judged, monkeypatch):
    api.generate(config(synthesis={"m": 6}), tmp_path / "run")
    *_, last = (row for row in map(json.loads, Run(tmp_path / "run").conditions.open()) if row["strategy"] == "dog")
    monkeypatch.setattr(module, "is_validation_outlier", lambda facts: facts["anchor"] == last["anchor"])
    check, other = module._require_validation, config(data={"classes": "cifar10"})
    monkeypatch.setattr(module, "_require_validation", lambda job, m: check(replace(job, config=other), m))
    lone = config(synthesis={"m": 1})
    assert api.refine(lone, tmp_path / "run", rounds=1)["rounds"]
    with pytest.raises(DataError, match="would be of a validation word"):
        api.refine(lone, tmp_path / "fresh", rounds=1)


def test_a_later_round_needs_the_one_before(tmp_path, config, world):
    with pytest.raises(UsageError, match="starts from dog, which is not trained yet"):
        api.train(config(training={"round": 2}), tmp_path / "run")
    assert world == []
    api.train(config(), tmp_path / "run")
    with pytest.raises(DataError, match="round 2 of 'dog' is not planned"):
        api.train(config(training={"round": 2}), tmp_path / "run")
