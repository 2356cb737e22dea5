"""Tuning: which values are tried, which is kept, and that only validation images decide."""

import json

import pytest

import dogfast.workflows.tune as module
from dogfast.config import RunConfig
from dogfast.data.catalogue import load_id
from dogfast.detection.measure import validation_outliers
from dogfast.errors import DataError, RunMismatch, UsageError
from dogfast.events import Events
from dogfast.run import publish
from dogfast.workflows.chain import run_train
from dogfast.workflows.tune import candidates, choose

pytestmark = pytest.mark.usefixtures("few_test_images")


def config(*tune, **training):
    small = {"backbone": "wrn-10-1", "pretrain_epochs": 1, "epochs": 1, "batch": 16, "ood_batch": 8, "train_precision": "fp32"}
    values = {"data": {"id_images": 64, "image_px": 16}, "model": {"device": "cpu"}, "detection": {"scores": ("msp", "energy")}}
    values["training"] = small | {"objective": "oe", "outliers": "noise", "tune": tune} | training
    return RunConfig().with_values(values, "test")


def test_every_combination_is_tried():
    tried = candidates(config("lr=0.1,0.2", "energy-in=-20, -10"))
    found = [(each.training.lr, each.objectives.energy_in, each.training.tune) for each in tried]
    assert found == [(0.1, -20, ()), (0.1, -10, ()), (0.2, -20, ()), (0.2, -10, ())]


@pytest.mark.parametrize("entry", ["lr", "lr=", "nonesuch=1", "m=1,2", "=1", ""])
def test_what_is_no_field_of_a_training_is_refused(entry):
    with pytest.raises(UsageError, match="--tune"):
        candidates(config(entry))


def test_values_out_of_range_are_refused():
    with pytest.raises(UsageError, match="--lr must be positive"):
        candidates(config("lr=0.1,-1"))


@pytest.mark.parametrize(
    "rows, best",
    [
        ([(0.90, 0.5), (0.90, 0.4)], 1),
        ([(0.90, 0.5), (0.88, 0.1)], 0),
        ([(0.90, 0.5), (0.895, 0.1)], 1),
        ([(0.9, 0.3), (0.9, 0.3)], 0),
    ],
)
def test_the_lowest_fpr_wins_unless_it_costs_accuracy(rows, best):
    assert choose([{"accuracy": accuracy, "fpr95": fpr95} for accuracy, fpr95 in rows]) == best


def test_the_best_is_kept_remembered_and_found_again(run, monkeypatch):
    judged, own = [], module.judged_on_validation

    def judge(candidate, *given):
        judged.append(candidate.training.lr)
        return own(candidate, *given) | {"accuracy": 1.0, "fpr95": {0.3: 0.2, 0.1: 0.6}[candidate.training.lr]}

    monkeypatch.setattr(module, "judged_on_validation", judge)
    result = run_train(config("lr=0.1,0.3"), run, Events())
    folder = run.classifier("oe+noise")
    assert judged == [0.1, 0.3] and not (folder / "tune").exists()
    table = json.loads((folder / "tune.json").read_text())
    assert [row["values"] for row in table["candidates"]] == [{"lr": 0.1}, {"lr": 0.3}] and table["chosen"] == 1
    assert json.loads((folder / "train.json").read_text())["identity"]["lr"] == 0.3
    assert "lr = 0.3" in run.remembers and "tune" not in run.remembers
    assert run_train(config("lr=0.1,0.3"), run, Events()) == result | {"resumed": True} and len(judged) == 2
    assert run_train(config(lr=0.3), run, Events())["resumed"]
    with pytest.raises(RunMismatch, match="tune"):
        run_train(config("lr=0.1,0.5"), run, Events())


@pytest.mark.parametrize("body", ["{}", '{"asked": ["lr=0.1,0.3"]}', '{"asked": ["lr=0.1,0.3"], "chosen": 7}', "[]"])
def test_a_record_of_what_was_chosen_that_is_none_is_named(run, monkeypatch, body):
    monkeypatch.setattr(module, "is_trained", lambda folder: True)
    publish(run.classifier("oe+noise") / "tune.json", body)
    with pytest.raises(DataError, match=r"tune\.json.*remove .*oe\+noise to tune it anew"):
        module.tune(config("lr=0.1,0.3"), run, Events())


def test_a_candidate_that_stands_is_not_trained_again(run, monkeypatch):
    def fails(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "judged_on_validation", fails)
        run_train(config("lr=0.1,0.3"), run, Events())
    before = (run.classifier("oe+noise") / "tune" / "0" / "train.json").stat().st_mtime_ns
    seen, own = [], module.judged_on_validation
    monkeypatch.setattr(
        module,
        "judged_on_validation",
        lambda c, place, *of: seen.append((place / "train.json").stat().st_mtime_ns) or own(c, place, *of),
    )
    run_train(config("lr=0.1,0.3"), run, Events())
    assert seen[0] == before


def test_candidates_are_judged_by_scores_that_are_fitted_or_move_images_too(run):
    chosen = config(objective="ce").with_values({"detection": {"scores": ("odin", "knn", "vim")}}, "test")
    run_train(chosen, run, Events())
    data = load_id(chosen.data)
    found = module.judged_on_validation(chosen, run.classifier("ce"), data, validation_outliers(chosen, run, data))
    assert 0 <= found["accuracy"] <= 1 and 0 < found["fpr95"] <= 1
