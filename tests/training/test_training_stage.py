"""The training stage on a handful of shapes: what it writes, what it repeats, what it refuses."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.classifiers.loading import load_classifier
from dogfast.config import RunConfig
from dogfast.errors import DataError, RunMismatch
from dogfast.events import Events
from dogfast.run import Run, publish
from dogfast.training.stage import train

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
TINY = {"backbone": "wrn-10-1", "pretrain_epochs": 1, "epochs": 1, "batch": 16, "ood_batch": 8, "train_precision": "fp32"}
pytestmark = pytest.mark.usefixtures("few_test_images")


@pytest.fixture
def run(run):
    helpers.commit(run.outliers("dog"), 0, count=4, side=16)
    return run


def config(data=None, **training):
    data = {"id_images": 64, "image_px": 16} | (data or {})
    methods = {name: value for name, value in training.items() if name.startswith("wor_")}
    training = {name: value for name, value in training.items() if name not in methods}
    values = {"data": data, "model": {"device": "cpu"}, "training": TINY | training, "objectives": methods}
    return RunConfig().with_values(values, "test")


def call(run, data=None, **training):
    return train(config(data, **training), run, Events())


def record(run, name):
    return json.loads((run.classifier(name) / "train.json").read_text())


# --- what is written --------------------------------------------------------------------------------------------
def test_ce_writes_a_classifier_and_its_record(run):
    result = call(run, objective="ce")
    folder = run.classifier("ce")
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "train.json", "metrics.jsonl"}
    model, facts = load_classifier(folder)
    assert not model.training and facts["class_names"][0] == "circle" and facts["image_px"] == 16
    assert result.keys() == {"run", "name", "model", "id_accuracy", "seconds", "img_per_s", "skipped_steps", "resumed"}
    assert (result["run"], result["name"], result["model"]) == (str(run.root), "ce", str(folder / "model.safetensors"))
    assert result["resumed"] is False and 0 <= result["id_accuracy"] <= 1 and result["skipped_steps"] == 0
    assert result["img_per_s"] > 0 and json.loads(json.dumps(result)) == result
    found = record(run, "ce")
    assert len(found["history"]) == 1 and found["validation_accuracy"] == result["id_accuracy"]
    assert {"objective", "pretrain_lr", "backbone", "id_data"} <= found["identity"].keys()
    assert not {"lr", "epochs", "outliers", "wor_step", "ood_batch"} & found["identity"].keys()


def test_a_second_call_trains_nothing(run):
    first = call(run, objective="ce")
    before = {path.name: path.read_bytes() for path in run.classifier("ce").iterdir()}
    second = call(run, objective="ce")
    assert second == first | {"resumed": True}
    assert {path.name: path.read_bytes() for path in run.classifier("ce").iterdir()} == before


def test_the_same_seed_gives_the_same_weights_and_another_another_name(run, tmp_path):
    other = Run(tmp_path / "other")
    for place, seed in ((run, 0), (other, 0), (run, 3)):
        call(place, objective="ce", train_seed=seed)
    assert record(run, "ce")["sha256"] == record(other, "ce")["sha256"] != record(run, "ce@3")["sha256"]


# --- what is refused --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change, said",
    [
        ({"pretrain_lr": 0.05}, "pretrain_lr: was 0.1, now 0.05"),
        ({"pretrain_epochs": 2}, "pretrain_epochs: was 1, now 2"),
        ({"backbone": "wrn-10-2"}, "backbone: was 'wrn-10-1', now 'wrn-10-2'"),
        ({"dropout": 0.0}, "dropout: was 0.3, now 0.0"),
        ({"data": {"id_images": 72}}, "id_images: was 64, now 72"),
        ({"data": {"match_codec": "none"}}, "match_codec: was 'auto', now 'none'"),
    ],
    ids=str,
)
def test_another_configuration_of_ce_is_refused(run, change, said):
    call(run, objective="ce")
    with pytest.raises(RunMismatch) as caught:
        call(run, objective="ce", **change)
    assert said in str(caught.value) and "classifiers/ce" in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"lr": 1.0}, {"epochs": 9}, {"wor_step": "alternate"}, {"ood_batch": 3}, {"outliers": "noise"}], ids=str
)
def test_fields_of_other_objectives_do_not_concern_ce(run, change):
    call(run, objective="ce")
    assert call(run, objective="ce", **change)["resumed"]


def test_tuning_depends_on_its_own_fields_its_start_and_its_outliers(run):
    call(run, objective="ce")
    call(run, objective="oe")
    call(run, objective="dog")
    start = record(run, "ce")
    for name in ("oe", "dog"):
        found = record(run, name)
        assert found["identity"]["start"] == start["sha256"][:16] and found["sha256"] != start["sha256"]
        assert (found["mean"], found["std"]) == (start["mean"], start["std"])
        assert call(run, objective=name)["resumed"]
        with pytest.raises(RunMismatch, match=r"lr: was 0.05, now 0.5"):
            call(run, objective=name, lr=0.5)
    assert call(run, objective="oe", wor_step="alternate")["resumed"]
    with pytest.raises(RunMismatch, match="wor_step: was 'joint', now 'alternate'"):
        call(run, objective="dog", wor_step="alternate")
    helpers.commit(run.outliers("dog"), 1, count=2, side=16)
    for name in ("oe", "dog"):
        with pytest.raises(RunMismatch, match="outliers: was"):
            call(run, objective=name)
    assert call(run, objective="ce")["resumed"]


def test_noise_is_a_source_with_a_name_of_its_own(run):
    call(run, objective="ce")
    assert call(run, objective="oe", outliers="noise")["name"] == "oe+noise"
    assert record(run, "oe+noise")["identity"]["outliers"] == "noise"


def test_a_start_of_another_configuration_is_refused_before_it_is_tuned(run):
    call(run, objective="ce")
    with pytest.raises(RunMismatch, match=r"classifiers/ce was made .*pretrain_lr: was 0.1, now 0.2"):
        call(run, objective="oe", pretrain_lr=0.2)
    with pytest.raises(RunMismatch, match=r"classifiers/ce was made .*id_images: was 64, now 72"):
        call(run, {"id_images": 72}, objective="oe", outliers="noise")
    assert not run.classifier("oe").exists()


def test_tuning_without_a_start_names_what_is_missing(run):
    with pytest.raises(DataError, match=r"classifiers/ce/train\.json is missing"):
        call(run, objective="oe")


def test_an_unknown_source_is_refused_before_anything_is_trained(run):
    call(run, objective="ce")
    with pytest.raises(DataError, match="--outliers 'unpainted'"):
        call(run, objective="oe", outliers="unpainted")


@pytest.mark.parametrize(
    "change",
    [{"identity": None}, {"identity": []}, {"validation_accuracy": "0.9"}, {"seconds": None}, {"skipped_steps": None}],
    ids=str,
)
def test_a_record_that_this_stage_did_not_write_is_named(run, change):
    call(run, objective="ce")
    publish(run.classifier("ce") / "train.json", json.dumps(record(run, "ce") | change))
    with pytest.raises(DataError, match=rf"train\.json has no proper '{next(iter(change))}'"):
        call(run, objective="ce")


@pytest.mark.parametrize("body", ["[]", "null", "{}", "{", '"x"'])
def test_a_record_that_is_none_is_named(run, body):
    publish(run.classifier("ce") / "train.json", body)
    for objective in ("ce", "oe"):
        with pytest.raises(DataError, match=r"classifiers/ce/train\.json"):
            call(run, objective=objective)
