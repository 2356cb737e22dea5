"""Verdicts against a baseline's files: what they say, when they are none, and files that are not as they should be."""

import json
import math

import pytest
import safetensors.torch
import torch

from dogfast.classifiers.backbones import build
from dogfast.classifiers.loading import save_classifier
from dogfast.detection.table import save_scores
from dogfast.detection.verdicts import judge
from dogfast.numerics.bootstrap import paired_difference
from dogfast.run import Run

DIGESTS = {"id": "a" * 64, "near": "b" * 64, "far": "c" * 64}


def scores_of(shift, seed=0, names=("msp", "energy")):
    rng = torch.Generator().manual_seed(seed)
    return {
        name: {
            "id": torch.randn(300, generator=rng) + 3,
            "near": torch.randn(200, generator=rng),
            "far": torch.randn(150, generator=rng) - shift,
        }
        for name in names
    }


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture
def baseline(run):
    """`ce`, evaluated on the sets of DIGESTS."""
    save_scores(run.evaluation("ce"), scores_of(0))
    write(run.evaluation("ce"), DIGESTS)
    return run.evaluation("ce")


def write(folder, digests):
    (folder / "metrics.json").write_text(json.dumps({"sets": {name: {"sha256": value} for name, value in digests.items()}}))


def test_every_score_and_set_has_a_verdict_and_every_score_a_mean(run, baseline):
    ours = scores_of(-2)
    found = judge(ours, DIGESTS, "ce", run)
    assert (found["against"], found["not_compared"]) == ("ce", [])
    assert [(row["score"], row["dataset"]) for row in found["rows"]] == [
        (s, d) for s in ("msp", "energy") for d in ("near", "far")
    ]
    before = scores_of(0)["energy"]
    wanted = paired_difference([(before["id"], before["far"], ours["energy"]["id"], ours["energy"]["far"])])
    row = found["rows"][3]
    assert (row["change"], row["low"], row["high"], row["verdict"]) == (wanted.value, wanted.low, wanted.high, "worse")
    assert found["rows"][0]["change"] == 0 and found["rows"][0]["verdict"] == "undecided"
    assert found["means"][1]["datasets"] == ["near", "far"]
    assert found["means"][1]["change"] == pytest.approx((found["rows"][2]["change"] + row["change"]) / 2)
    json.dumps(found)


def test_a_classifier_that_refuses_more_is_better(run, baseline):
    rows = judge({"msp": scores_of(0)["msp"] | {"far": scores_of(0)["msp"]["far"] - 5}}, DIGESTS, "ce", run)["rows"]
    assert [row["verdict"] for row in rows] == ["undecided", "better"]


# --- not comparable ---------------------------------------------------------------------------------------------
def test_sets_of_other_images_and_unknown_scores_are_left_out_and_named(run, baseline):
    write(baseline, DIGESTS | {"far": "d" * 64})
    found = judge(scores_of(0, names=("msp", "knn")), DIGESTS | {"new": "e" * 64}, "ce", run)
    assert [(row["score"], row["dataset"]) for row in found["rows"]] == [("msp", "near")]
    assert found["not_compared"] == [
        "far: ce was evaluated on other images",
        "new: ce was not evaluated on it",
        "knn: ce was not evaluated under it",
    ]


def test_other_id_images_leave_nothing_to_compare(run, baseline):
    found = judge(scores_of(0), DIGESTS | {"id": "f" * 64}, "ce", run)
    assert found["rows"] == found["means"] == [] and found["not_compared"] == ["ce was evaluated on other ID images"]


def test_no_set_in_common_leaves_nothing_to_compare(run, baseline):
    found = judge(scores_of(0), {"id": DIGESTS["id"], "near": "f" * 64}, "ce", run)
    assert found["rows"] == found["means"] == [] and found["not_compared"] == ["near: ce was evaluated on other images"]


def test_a_baseline_that_was_trained_anew_has_to_be_evaluated_anew(run, baseline):
    torch.manual_seed(0)
    facts = {
        "backbone": "wrn-10-1",
        "class_names": ["a", "b"],
        "image_px": 8,
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "dropout": 0.0,
    }
    save_classifier(run.classifier("ce"), build("wrn-10-1", ["a", "b"], facts["mean"], facts["std"]), facts)
    found = judge(scores_of(0), DIGESTS, "ce", run)
    assert found["rows"] == [] and found["not_compared"] == ["ce was trained anew after it was evaluated; evaluate it again"]
    (run.classifier("ce") / "train.json").write_text("{}")
    assert "train.json" in judge(scores_of(0), DIGESTS, "ce", run)["not_compared"][0]


def test_a_baseline_that_is_not_evaluated_is_said_to_be_so(run):
    assert judge(scores_of(0), DIGESTS, "ce@1", run)["not_compared"] == ["ce@1 is not evaluated in this run"]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"sets": 3}', '{"sets": {"id": 3}}', '{"sets": {"id": {}}}', '{"sets": {"id": {"sha256": null}}}'],
)
def test_a_record_that_does_not_name_its_images_is_no_baseline(run, baseline, content):
    (baseline / "metrics.json").write_text(content)
    (reason,) = judge(scores_of(0), DIGESTS, "ce", run)["not_compared"]
    assert "metrics.json" in reason


@pytest.mark.parametrize(
    "tensors",
    [
        {"id": torch.zeros(300), "near": torch.zeros(200)},
        {"id": torch.zeros(300), "near": torch.zeros(200), "far": torch.zeros(149)},
        {"id": torch.zeros(300), "near": torch.zeros(200), "far": torch.full((150,), math.nan)},
        {"id": torch.zeros(2, 150), "near": torch.zeros(200), "far": torch.zeros(150)},
    ],
    ids=["missing", "short", "nan", "matrix"],
)
def test_scores_that_are_not_as_recorded_are_no_baseline(run, baseline, tensors):
    (baseline / "scores" / "msp.safetensors").write_bytes(safetensors.torch.save(tensors))
    found = judge(scores_of(0), DIGESTS, "ce", run)
    assert found["rows"] == [] and "msp.safetensors" in found["not_compared"][0]
