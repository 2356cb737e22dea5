"""Exported detectors made by a stranger who means harm: each is refused in one sentence, and nothing outside is read."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from dogfast.detection.detector import Detector
from dogfast.detection.folder import read_detector
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.workflows.export import Request, run_export
from tests.detection.made_run import make_config, make_run


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dogfast.data.catalogue.SHAPES_TEST_IMAGES", 16)
        run = make_run(tmp_path_factory.mktemp("hostile") / "run")
        place = run.root.parent / "out"
        run_export(make_config(), run, Events(), Request(score="knn", folder=place))
    return place


@pytest.fixture
def folder(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "a" / "b"))


def edit(folder, change):
    record = folder / "detector.json"
    facts = json.loads(record.read_text())
    change(facts)
    record.write_text(json.dumps(facts))


def rehash(folder, name):
    """A record that agrees to the file ``name`` as it now is."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    edit(folder, lambda facts: facts["files"].update({name: digest}))


def restate(folder, change):
    """Another state whose digest is right."""
    tensors = load((folder / "state.safetensors").read_bytes())
    change(tensors)
    (folder / "state.safetensors").write_bytes(save(tensors))
    rehash(folder, "state.safetensors")


def refused(folder, words=None):
    with pytest.raises(DataError, match=words) as caught:
        read_detector(folder)
    assert "\n" not in str(caught.value)


def test_the_folder_that_they_are_made_of_is_good(folder):
    detector = Detector.load(folder)
    assert detector.score == "knn" and detector(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).score.shape == (2,)


RECORDS = {
    "no object": "[]",
    "no json": "{",
    "deep": "[" * 100_000,
    "empty": "{}",
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_none_is_refused(folder, name):
    (folder / "detector.json").write_text(RECORDS[name])
    refused(folder, "detector.json")


def put(name, value):
    return lambda facts: facts.__setitem__(name, value)


CHANGES = {
    "another format": put("format", 2),
    "a score that is none": put("score", "../../x"),
    "a list as score": put("score", ["knn"]),
    "code as state": put("state", {"__class__": 1}),
    "text as state": put("state", {"k": "50"}),
    "an endless state": put("state", {"k": float("inf")}),
    "no number as state": put("state", {"k": float("nan")}),
    "a truth as state": put("state", {"k": True}),
    "k beyond the bank": put("state", {"k": 10**6}),
    "k below 1": put("state", {"k": -1}),
    "k of no number": put("state", {"k": 1.5}),
    "no k": put("state", {}),
    "what knn does not take": put("state", {"k": 1, "more": 1}),
    "a recall beyond 1": put("recall", 2),
    "another recall": put("recall", 0.5),
    "another threshold": put("threshold", -1e9),
    "no threshold": put("threshold", None),
    "an endless threshold": put("threshold", float("-inf")),
    "a filter that is none": put("resize", {"filter": "eval", "share": 1.0, "centre_px": 0}),
    "a filter of another kind": put("resize", {"filter": ["bicubic"], "share": 1.0, "centre_px": 0}),
    "a field too many": put("resize", {"filter": "bicubic", "share": 1.0, "centre_px": 0, "more": 1}),
    "a share of nothing": put("resize", {"filter": "bicubic", "share": 0, "centre_px": 0}),
    "a negative centre": put("resize", {"filter": "bicubic", "share": 1, "centre_px": -5}),
    "a codec that is none": put("codec", {"kind": "gzip"}),
    "no codec": put("codec", None),
    "tables that are none": put("codec", {"kind": "jpeg", "tables": [[1] * 63], "subsampling": 2}),
    "tables of zeros": put("codec", {"kind": "jpeg", "tables": [[0] * 64], "subsampling": 2}),
    "too many tables": put("codec", {"kind": "jpeg", "tables": [[1] * 64] * 9, "subsampling": 2}),
    "a subsampling that is none": put("codec", {"kind": "jpeg", "tables": [[1] * 64], "subsampling": 7}),
    "other classes": put("class_names", ["a", "b"]),
    "another size": put("image_px", 32),
    "another classifier": put("classifier_sha256", "0" * 64),
    "no files": put("files", {}),
    "files of another kind": put("files", ["state.safetensors"]),
    "digests of another kind": put("files", {"state.safetensors": 1}),
    "only the state": lambda facts: facts.update(files={"state.safetensors": facts["files"]["state.safetensors"]}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_record_is_refused(folder, name):
    edit(folder, CHANGES[name])
    refused(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "classifier/../../../secret", "./state.safetensors", "", "classifier", "gone"]
)
def test_no_name_leads_out_of_the_folder(folder, name):
    (folder.parent.parent / "secret").write_text("secret")
    edit(folder, lambda facts: facts["files"].update({name: hashlib.sha256(b"secret").hexdigest()}))
    refused(folder, "which is no file of its folder")


@pytest.mark.parametrize("name", ["state.safetensors", "classifier/model.safetensors", "classifier/train.json"])
@pytest.mark.parametrize("how", ["changed", "gone", "link", "fifo", "folder"])
def test_a_file_that_is_not_the_one_that_was_exported_is_refused(folder, name, how):
    path = folder / name
    if how == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        return refused(folder, "SHA-256 differs")
    path.rename(folder.parent / "moved")
    if how == "link":
        path.symlink_to(folder.parent / "moved")
    if how == "fifo":
        os.mkfifo(path)
    if how == "folder":
        path.mkdir()
    refused(folder, "no file of its folder")


def test_a_linked_classifier_is_not_followed(folder):
    (folder / "classifier").rename(folder.parent / "moved")
    (folder / "classifier").symlink_to(folder.parent / "moved")
    refused(folder, "no file of its folder")


def test_weights_of_another_classifier_are_refused_although_their_digests_are_right(folder):
    path = folder / "classifier" / "model.safetensors"
    tensors = load(path.read_bytes())
    path.write_bytes(save(tensors | {"head.weight": 2 * tensors["head.weight"]}))
    rehash(folder, "classifier/model.safetensors")
    refused(folder, "SHA-256 differs from train.json's")
    record = folder / "classifier" / "train.json"
    facts = json.loads(record.read_text()) | {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    record.write_text(json.dumps(facts))
    rehash(folder, "classifier/train.json")
    refused(folder, "'classifier_sha256' is not that of its classifier")


def test_a_pickle_is_no_state(folder):
    (folder / "state.safetensors").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    rehash(folder, "state.safetensors")
    refused(folder, "not a safetensors file")


STATES = {
    "no validation scores": lambda t: t.pop("validation_scores"),
    "no scores among them": lambda t: t.update(validation_scores=torch.empty(0)),
    "scores that are none": lambda t: t.update(validation_scores=torch.full((9,), float("nan"))),
    "scores of two axes": lambda t: t.update(validation_scores=torch.zeros(9, 1)),
    "whole numbers for scores": lambda t: t.update(validation_scores=torch.zeros(9, dtype=torch.int64)),
    "no bank": lambda t: t.pop("bank"),
    "a bank of another width": lambda t: t.update(bank=torch.ones(60, 3)),
    "a bank of one axis": lambda t: t.update(bank=torch.ones(64)),
    "an empty bank": lambda t: t.update(bank=torch.empty(0, 64)),
    "a bank of whole numbers": lambda t: t.update(bank=torch.ones(60, 64, dtype=torch.int64)),
    "an endless bank": lambda t: t.update(bank=torch.full((60, 64), float("inf"))),
    "more than knn takes": lambda t: t.update(more=torch.ones(3)),
    "a name of no letters": lambda t: t.update({"__dict__.x": torch.ones(3)}),
}


@pytest.mark.parametrize("name", STATES)
def test_a_hostile_state_is_refused_although_its_digest_is_right(folder, name):
    restate(folder, STATES[name])
    refused(folder)


def test_a_run_does_not_take_a_kept_detector_of_another_classifier(tmp_path, few_test_images):
    """Whoever may write beside the evaluation cannot put another threshold there: it is made anew."""
    run = make_run(tmp_path / "run")
    good = Detector.load(run.root, "ce", "msp").threshold
    kept = run.detector("ce", "msp")
    edit(kept, put("threshold", 0.0))
    assert Detector.load(run.root, "ce", "msp").threshold == good
    Detector.load(run.root, "ce", "energy")
    shutil.rmtree(kept)
    shutil.copytree(run.detector("ce", "energy"), kept)
    again = Detector.load(run.root, "ce", "msp")
    assert again.score == "msp" and again.threshold == good
