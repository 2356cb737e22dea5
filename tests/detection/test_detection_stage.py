"""The detection stage on a handful of shapes: the contract of its answer, its files, its choices and refusals."""

import json
import re
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
from dogfast.data.corruptions import SEVERITIES
from dogfast.detection import stage
from dogfast.detection.fitting import DEFAULTS
from dogfast.detection.measure import validation_digest, validation_outliers
from dogfast.detection.scores.shaping import PERCENTILES
from dogfast.detection.stage import evaluate
from dogfast.detection.table import load_scores
from dogfast.errors import DataError, UsageError
from dogfast.events import Events
from dogfast.run import Run

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
ROW = ["score", "dataset", "group", "fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out", "n_id", "n_ood"]
ROW += ["fpr95_interval", "auroc_interval"]
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


def add_classifier(run, names, side=SIDE, name="ce", seed=0):
    torch.manual_seed(seed)
    plain = dict(mean=[0.5] * 3, std=[0.25] * 3, dropout=0.0)
    model = build("wrn-10-1", names, plain["mean"], plain["std"])
    facts = plain | {"backbone": "wrn-10-1", "class_names": list(names), "image_px": side}
    save_classifier(run.classifier(name), model, facts)


def config(data=None, **detection):
    data = {"id_images": 48, "image_px": SIDE} | (data or {})
    detection = {"ood": ["held-out-shapes", "gaussian"], "ood_images": N_OOD} | detection
    values = {"data": data, "model": {"device": "cpu"}, "training": {"train_precision": "fp32"}, "detection": detection}
    return RunConfig().with_values(values, "test")


def call(run, data=None, events=None, name="ce", **detection):
    return evaluate(config(data, **detection), run, name, events or Events())


def notes(said):
    return Events(lambda name, fields: said.append(fields["text"]) if name == "note" else None)


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
        for name in ("fpr95", "auroc"):
            low, high = row[f"{name}_interval"]
            assert 0 <= low <= row[name] <= high <= 1
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
    count += len(SEVERITIES) * N_ID
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


def test_what_was_read_is_recorded_and_a_count_that_differs_is_said(run, animals):
    said = []
    events = Events(lambda name, fields: said.append(fields["text"]) if name == "note" else None)
    result = call(run, events=events, ood=[f"svhn={animals}", "gaussian"], scores=["msp"])
    found = json.loads((run.evaluation("ce") / "metrics.json").read_text())["sets"]
    assert found == json.loads(json.dumps(result["sets"])) and found.keys() == {"id", "svhn", "gaussian"}
    assert found["svhn"]["origin"].startswith("Netzer") and (found["svhn"]["found"], found["svhn"]["count"]) == (24, "differs")
    assert found["gaussian"]["read"] == found["id"]["read"] == "painted" and animals not in json.dumps(found)
    assert [text for text in said if "svhn holds 24 images here" in text and "26,032 published" in text]


def test_near_and_far_go_by_the_id_set(run, animals):
    groups = {row["dataset"]: row["group"] for row in call(run, ood=["held-out-shapes", "glyphs"], scores=["msp"])["rows"]}
    assert groups == {"held-out-shapes": "near", "glyphs": "far"}
    add_classifier(run, ("cat", "dog"))
    data = {"classes": animals, "id_images": 0}
    assert [row["group"] for row in call(run, data, ood=["held-out-shapes"], scores=["msp"])["rows"]] == ["far"]


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


def test_a_digest_of_validation_outliers_is_of_the_shards_they_are_in(run, animals):
    settings = config({"classes": animals, "id_images": 0})
    assert validation_digest(settings, run) == validation_digest(config(), run) == ""
    found = set()
    for shard in range(2):
        helpers.commit(run.outliers("dog"), shard, side=SIDE, anchor=shapes.VALIDATION_WORDS[0])
        found.add(validation_digest(settings, run))
    assert len(found) == 2 and "" not in found and validation_digest(config(), run) == ""


def test_no_metrics_vouch_for_scores_that_were_not_written(run, monkeypatch):
    def fails(*given):
        raise KeyboardInterrupt

    call(run)
    assert (run.evaluation("ce") / "metrics.json").exists()
    monkeypatch.setattr(stage, "save_scores", fails)
    with pytest.raises(KeyboardInterrupt):
        call(run)
    assert not (run.evaluation("ce") / "metrics.json").exists()


def test_validation_shapes_are_no_test_shapes(run):
    settings = config()
    data = load_id(settings.data)
    found = validation_outliers(settings, run, data)
    assert len(found) == len(data.validation)
    for name in ("held-out-shapes", "validation-shapes"):
        tested = catalogue.load_ood(name, settings.data, N_OOD, data.codec).images
        assert not any(torch.equal(a, b) for a in found for b in tested), name


# --- protocols --------------------------------------------------------------------------------------------------
def test_means_of_near_and_far_sets_stand_beside_the_rows(run):
    result = call(run, ood=["held-out-shapes", "gaussian", "stripes"], scores=["msp"])
    near, far = result["means"]
    assert (near["group"], near["datasets"]) == ("near", ["held-out-shapes"])
    assert (far["group"], far["datasets"]) == ("far", ["gaussian", "stripes"])
    assert far["auroc"] == pytest.approx((result["rows"][1]["auroc"] + result["rows"][2]["auroc"]) / 2)
    assert result["protocol"]["name"] == "full" and "95 % ID recall" in result["protocol"]["note"]


@pytest.mark.parametrize(
    "name, measures", [("energy_ood", {"fpr_nearest", "n_ood", "draws"}), ("openood", {"fpr95", "aupr_out"})]
)
def test_a_protocol_adds_to_rows_and_changes_none_of_ours(run, name, measures):
    plain, found = call(run, scores=["energy"]), call(run, scores=["energy"], protocol=name, protocol_seed=3)
    for row, ours in zip(found["rows"], plain["rows"]):
        assert measures <= row[name].keys() and {key: row[key] for key in ours} == ours
    assert found["protocol"]["seed"] == 3 and "auroc" in found["means"][0][name]


# --- corrupted ID images ----------------------------------------------------------------------------------------
def test_corrupted_id_images_are_counted_under_every_score(run):
    rows = call(run, scores=["msp", "energy"], corrupted_images=10)["corrupted_id"]
    assert [(r["corruption"], r["severity"], r["score"]) for r in rows] == [
        (*s, n) for s in SEVERITIES for n in ("msp", "energy")
    ]
    assert all(row["n"] == 10 and 0 <= row["refused"] <= 1 and 0 <= row["id_accuracy"] <= 1 for row in rows)


def test_corrupted_images_may_be_left_out(run, monkeypatch):
    looked, collect = [], stage.collect_evidence
    monkeypatch.setattr(
        stage, "collect_evidence", lambda model, images, *given: looked.append(len(images)) or collect(model, images, *given)
    )
    assert call(run, scores=["msp"], corrupted_images=0)["corrupted_id"] == []
    assert sum(looked) == N_ID + 2 * N_OOD


def test_images_that_are_coded_once_more_without_a_codec_are_refused_as_they_were(run):
    """Of all 24 ID images, at most 5 %: one, which is below the threshold that the other 23 set."""
    rows = call(run, {"match_codec": "none"}, scores=["msp"])["corrupted_id"]
    assert rows[0]["corruption"] == "none" and rows[0]["refused"] == pytest.approx(1 / N_ID)


# --- verdicts ---------------------------------------------------------------------------------------------------
def test_another_classifier_is_judged_against_the_baseline_of_the_run(run):
    add_classifier(run, shapes.ID_WORDS, name="dog", seed=1)
    assert "verdicts" not in call(run)
    found = call(run, name="dog")
    assert found["verdicts"]["against"] == "ce" and found["verdicts"]["not_compared"] == []
    assert [(r["score"], r["dataset"]) for r in found["verdicts"]["rows"]] == [
        (r["score"], r["dataset"]) for r in found["rows"]
    ]
    before = {
        (r["score"], r["dataset"]): r["fpr95"] for r in json.loads((run.evaluation("ce") / "metrics.json").read_text())["rows"]
    }
    for row, verdict in zip(found["rows"], found["verdicts"]["rows"]):
        assert verdict["change"] == pytest.approx(row["fpr95"] - before[row["score"], row["dataset"]])
    same = evaluate(config(), run, "ce", Events(), baseline="dog")
    assert same["verdicts"]["rows"][0]["change"] == -found["verdicts"]["rows"][0]["change"]


def test_other_counts_and_a_baseline_that_is_not_there_are_not_compared(run):
    add_classifier(run, shapes.ID_WORDS, name="dog", seed=1)
    assert call(run, name="dog")["verdicts"]["not_compared"] == ["ce is not evaluated in this run"]
    call(run, ood_images=N_OOD - 1, scores=["msp"])
    found = call(run, name="dog", ood=["held-out-shapes", "stripes"], scores=["msp"])["verdicts"]
    assert found["rows"] == []
    assert found["not_compared"] == ["held-out-shapes: ce was evaluated on other images", "stripes: ce was not evaluated on it"]


# --- kept features ----------------------------------------------------------------------------------------------
EVERY_SCORE = ("msp", "energy", "odin", "ash-s", "knn")
EVERY_SET = {"id", "held-out-shapes", "gaussian", "id+validation", "ood+validation", "id+train"}


def test_a_second_evaluation_takes_the_features_of_the_first(run, monkeypatch):
    first = call(run, scores=EVERY_SCORE, keep_features="fp32", corrupted_images=0)
    assert first["features"] == {"kept": "fp32", "taken": []}
    folder = run.evaluation("ce") / "features"
    assert {path.stem for path in folder.iterdir()} == EVERY_SET
    looked, collect = [], stage.collect_evidence
    monkeypatch.setattr(
        stage, "collect_evidence", lambda model, images, *given: looked.append(len(images)) or collect(model, images, *given)
    )
    said = []
    second = call(run, scores=EVERY_SCORE, events=notes(said), protocol="openood", corrupted_images=0)
    assert sum(looked) == 0 and set(second["features"]["taken"]) == EVERY_SET
    assert any(text.startswith("features of an earlier evaluation taken as they are: ") for text in said)
    for row, before in zip(second["rows"], first["rows"]):
        assert {key: row[key] for key in before} == before
    assert second["hyper_parameters"] == first["hyper_parameters"] and second["id_accuracy"] == first["id_accuracy"]


def test_features_of_another_classifier_or_other_images_are_not_taken(run):
    call(run, scores=["msp"], keep_features="fp32")
    add_classifier(run, shapes.ID_WORDS, seed=1)
    said = []
    fresh = call(run, scores=["msp"], events=notes(said))
    assert fresh["features"]["taken"] == [] and any("gaussian (another classifier)" in text for text in said)
    kept, said = call(run, scores=["msp"], keep_features="fp32"), []
    assert kept["rows"] == fresh["rows"]
    again = call(run, scores=["msp"], events=notes(said), ood_images=N_OOD - 1)
    assert again["features"]["taken"] == ["id"] and any("gaussian (other images)" in text for text in said)


def test_half_features_are_for_others_and_never_taken(run):
    call(run, scores=["msp"], keep_features="fp16")
    said = []
    assert call(run, scores=["msp"], events=notes(said))["features"]["taken"] == []
    assert any("gaussian (fp16)" in text for text in said)


def test_a_damaged_file_of_features_is_refused_by_name(run):
    call(run, scores=["msp"], keep_features="fp32")
    file = run.evaluation("ce") / "features" / "gaussian.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"features/gaussian\.safetensors cannot be read .*remove it"):
        call(run, scores=["msp"])


def test_the_name_of_a_set_leads_nowhere_else(run, animals):
    call(run, ood=[f"../../x={animals}", f"..={animals}"], scores=["msp"], keep_features="fp32")
    names = {path.name for path in (run.evaluation("ce") / "features").iterdir()}
    assert names == {"id.safetensors", "..%2F..%2Fx.safetensors", "...safetensors"}


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


@pytest.mark.parametrize("name", ["id", "id+train", "ood+validation"])
def test_a_set_cannot_be_called_as_ours_are(run, animals, name):
    with pytest.raises(UsageError, match=re.escape(f"cannot be called {name!r}")):
        call(run, ood=[f"{name}={animals}"])


def test_a_missing_classifier_is_named(tmp_path):
    with pytest.raises(DataError, match=r"classifiers/ce/train\.json is missing"):
        call(Run(tmp_path / "bare"))


def test_openoods_tables_are_written_under_its_protocol_alone(run):
    result = call(run, scores=["msp", "energy"], protocol="openood", corrupted_images=0)
    table = (run.evaluation("ce") / "openood" / "msp.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in table] == ["dataset", "held-out-shapes", "nearood", "gaussian", "farood"]
    row = next(r for r in result["rows"] if (r["score"], r["dataset"]) == ("msp", "gaussian"))
    assert table[3].split(",")[1:3] == [f"{100 * row['fpr95_ood']:.2f}", f"{100 * row['auroc']:.2f}"]
    call(run, scores=["msp"], corrupted_images=0)
    assert not (run.evaluation("ce") / "openood").exists()
