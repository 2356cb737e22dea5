"""The detection stage on a handful of shapes: the contract of its answer, its files, its choices and refusals."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import dogfast.data.catalogue as catalogue
from dogfast.classifiers.backbones import build
from dogfast.classifiers.loading import save_classifier
from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.data.catalogue import load_id
from dogfast.detection import stage
from dogfast.detection.fitting import DEFAULTS
from dogfast.detection.measure import validation_outliers
from dogfast.detection.scores.shaping import PERCENTILES
from dogfast.detection.stage import evaluate
from dogfast.detection.table import load_scores
from dogfast.errors import DataError, UsageError
from dogfast.events import Events
from dogfast.run import Run

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
ROW = ["score", "dataset", "group", "fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out", "n_id", "n_ood"]
N_ID, N_OOD = 24, 20
SIDE = 16


@pytest.fixture(autouse=True)
def few_test_images(monkeypatch):
    monkeypatch.setattr(catalogue, "SHAPES_TEST_IMAGES", N_ID)


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    add_classifier(run, shapes.ID_WORDS)
    return run


def add_classifier(run, names, side=SIDE):
    torch.manual_seed(0)
    plain = dict(mean=[0.5] * 3, std=[0.25] * 3, dropout=0.0)
    model = build("wrn-10-1", names, plain["mean"], plain["std"])
    facts = plain | {"backbone": "wrn-10-1", "class_names": list(names), "image_px": side}
    save_classifier(run.classifier("ce"), model, facts)


def config(data=None, **detection):
    data = {"id_images": 48, "image_px": SIDE} | (data or {})
    detection = {"ood": ["held-out-shapes", "gaussian"], "ood_images": N_OOD} | detection
    values = {"data": data, "model": {"device": "cpu"}, "training": {"train_precision": "fp32"}, "detection": detection}
    return RunConfig().with_values(values, "test")


def call(run, data=None, events=None, **detection):
    return evaluate(config(data, **detection), run, "ce", events or Events())


@pytest.fixture
def animals(tmp_path):
    """A user's folder of two classes."""
    for name in ("cat", "dog"):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for n in range(12):
            image = np.random.default_rng(n).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "animals" / name / f"{n}.png")
    return str(tmp_path / "animals")


# --- the answer -------------------------------------------------------------------------------------------------
def test_rows_are_as_the_contract_says(run):
    result = call(run)
    assert (result["run"], result["name"]) == (str(run.root), "ce") and 0 <= result["id_accuracy"] <= 1
    assert [list(row) for row in result["rows"]] == [ROW] * 6
    scores, sets = ("msp", "energy", "ash-s"), (("held-out-shapes", "near"), ("gaussian", "far"))
    assert [(r["score"], r["dataset"], r["group"]) for r in result["rows"]] == [(s, *d) for s in scores for d in sets]
    for row in result["rows"]:
        assert (row["n_id"], row["n_ood"]) == (N_ID, N_OOD)
        assert all(type(row[name]) is float and 0 <= row[name] <= 1 for name in ROW[3:8])
    written = json.loads((run.evaluation("ce") / "metrics.json").read_text())
    assert written == json.loads(json.dumps(result))
    assert written["classifier_sha256"] == json.loads((run.classifier("ce") / "train.json").read_text())["sha256"]
    assert "sensor noise" in written["codec"] and written["precision"] == "fp32"


def test_scores_are_kept_for_every_set(run):
    result = call(run, scores=["energy", "msp"])
    folder = run.evaluation("ce") / "scores"
    assert {path.name for path in folder.iterdir()} == {"energy.safetensors", "msp.safetensors"}
    for score in ("energy", "msp"):
        found = load_scores(folder / f"{score}.safetensors")
        assert {name: len(values) for name, values in found.items()} == {
            "id": N_ID,
            "held-out-shapes": N_OOD,
            "gaussian": N_OOD,
        }
    row = next(r for r in result["rows"] if (r["score"], r["dataset"]) == ("msp", "gaussian"))
    known, unknown = (load_scores(folder / "msp.safetensors")[name] for name in ("id", "gaussian"))
    wins = (known[:, None] > unknown).float() + 0.5 * (known[:, None] == unknown).float()
    assert row["auroc"] == pytest.approx(float(wins.mean()), abs=1e-6)


def test_evaluating_again_gives_the_same_numbers(run):
    assert call(run)["rows"] == call(run)["rows"]


def test_progress_counts_every_image(run):
    done = []
    scores, data = ("ash-s", "odin", "knn"), load_id(config().data)
    events = Events(lambda name, fields: done.append((fields["done"], fields["total"])) if name == "progress" else None)
    call(run, events=events, scores=scores)
    count = N_ID + 2 * N_OOD + 2 * len(data.validation) + len(data.train)  # chosen on ID and OOD images, fitted on ID ones
    assert done[-1] == (count, count)


def test_the_default_sets_are_those_of_the_classes(run):
    result = call(run, ood=[], scores=["msp"])
    assert [row["dataset"] for row in result["rows"]] == list(catalogue.DEFAULT_OOD_OF_SHAPES)


def test_files_of_a_user_are_a_set(run, animals):
    (row,) = call(run, ood=[f"pets={animals}"], scores=["msp"])["rows"]
    assert (row["dataset"], row["group"], row["n_ood"]) == ("pets", "far", N_OOD)


def test_training_images_are_looked_at_for_fitted_scores_alone(run, monkeypatch):
    looked, collect = [], stage.collect_evidence
    monkeypatch.setattr(
        stage, "collect_evidence", lambda model, images, *given: looked.append(len(images)) or collect(model, images, *given)
    )
    call(run, scores=["msp", "maxlogit", "energy"])
    plain, training = sum(looked), len(load_id(config().data).train)
    call(run, scores=["msp", "react", "vim"])
    assert sum(looked) == 2 * plain + training


# --- the percentile of ASH --------------------------------------------------------------------------------------
def test_a_percentile_that_was_asked_for_is_used(run):
    chosen = call(run, ash_percentile=80)["hyper_parameters"]
    assert chosen == {"ash-s": {"name": "percentile", "value": 80, "reason": "asked for by --ash-percentile"}}


def test_the_percentile_is_chosen_on_validation_shapes(run):
    said = []
    result = call(run, events=Events(lambda name, fields: said.append(fields["text"]) if name == "note" else None))
    chosen = result["hyper_parameters"]["ash-s"]
    assert chosen["value"] in PERCENTILES and "best validation AUROC" in chosen["reason"]
    assert any("percentile of ash-s" in text and "validation" in text for text in said)


def test_no_percentile_is_chosen_where_ash_is_not_used(run):
    assert call(run, scores=["msp"])["hyper_parameters"] == {}


def test_a_folder_without_validation_outliers_gets_the_stated_default(run, animals):
    add_classifier(run, ("cat", "dog"))
    data = {"classes": animals, "id_images": 0}

    def chosen():
        return call(run, data, ood=["gaussian"])["hyper_parameters"]["ash-s"]

    assert chosen()["value"] == DEFAULTS["ash-s"]["percentile"]
    assert "the run holds no validation outliers" in chosen()["reason"]
    helpers.commit(run.outliers("dog"), 0, anchor="bullseye")
    assert "no validation outliers" in chosen()["reason"]
    helpers.commit(run.outliers("dog"), 1, side=SIDE, anchor=shapes.VALIDATION_WORDS[0])
    assert "best validation AUROC" in chosen()["reason"]


def test_validation_outliers_of_a_folder_are_those_that_never_train(run, animals):
    settings = config({"classes": animals, "id_images": 0})
    data = load_id(settings.data)
    assert validation_outliers(settings, run, data) is None
    for shard, word in enumerate(("bullseye", shapes.VALIDATION_WORDS[0], "star")):
        helpers.commit(run.outliers("dog"), shard, side=SIDE, anchor=word)
    found = validation_outliers(settings, run, data)
    assert found.shape == (3, 3, SIDE, SIDE)
    assert torch.equal(found[0].permute(1, 2, 0), torch.from_numpy(helpers.image(0, SIDE)))


def test_validation_shapes_are_no_test_shapes(run):
    settings = config()
    data = load_id(settings.data)
    found = validation_outliers(settings, run, data)
    assert len(found) == len(data.validation)
    for name in ("held-out-shapes", "validation-shapes"):
        tested = catalogue.load_ood(name, settings.data, N_OOD, data.codec).images
        assert not any(torch.equal(a, b) for a in found for b in tested), name


# --- what is refused --------------------------------------------------------------------------------------------
def test_a_classifier_of_other_classes_is_refused(run, animals):
    with pytest.raises(DataError, match=r"classifier ce knows other classes than --classes .*animals"):
        call(run, {"classes": animals, "id_images": 0})


def test_a_classifier_of_another_size_is_refused(run):
    with pytest.raises(DataError, match=r"was trained at 16 px, not --image-px 24"):
        call(run, {"image_px": 24})


def test_two_sets_of_one_name_are_refused(run, animals):
    with pytest.raises(UsageError, match="--ood names 'pets' twice"):
        call(run, ood=[f"pets={animals}", f"pets={animals}/cat"])
    with pytest.raises(UsageError, match="--ood names 'gaussian' twice"):
        call(run, ood=["gaussian", "stripes", "gaussian"])


@pytest.mark.parametrize(
    "entry, error", [("lsun", DataError), ("x=/nowhere", DataError), ("=x", UsageError), ("x=", UsageError)]
)
def test_a_set_that_is_not_there_is_named(run, entry, error):
    with pytest.raises(error, match="--ood"):
        call(run, ood=[entry])
    assert not run.evaluation("ce").exists()


def test_a_set_cannot_be_called_id(run, animals):
    with pytest.raises(UsageError, match="cannot be called 'id'"):
        call(run, ood=[f"id={animals}"])


def test_a_missing_classifier_is_named(tmp_path):
    with pytest.raises(DataError, match=r"classifiers/ce/train\.json is missing"):
        call(Run(tmp_path / "bare"))
