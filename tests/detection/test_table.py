import math

import pytest
import safetensors.torch
import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores import SCORES, bound_scores
from dogfast.detection.table import artefact_control, evaluate_scores, load_scores, save_scores
from dogfast.errors import DataError
from dogfast.numerics.metrics import detection_metrics, threshold_at_recall

COLUMNS = ["score", "dataset", "group", "fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out", "n_id", "n_ood"]
GROUPS = {"gratings": "near", "noise": "far"}


def make_evidence(n, scale, seed):
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 8, generator=generator), torch.randn(3, generator=generator)
    features = scale * torch.randn(n, 8, generator=generator.manual_seed(seed)).relu()
    return Evidence(features @ weight.T + bias, features, weight, bias)


def bound(*names):
    return bound_scores(names, {"ash-s": {"percentile": 75}})


@pytest.fixture
def id_evidence():
    return make_evidence(30, 2.0, 1)


@pytest.fixture
def ood_evidence():
    return {"gratings": make_evidence(20, 1.0, 2), "noise": make_evidence(10, 0.5, 3)}


def test_a_row_for_every_score_and_set(id_evidence, ood_evidence):
    rows, tensors = evaluate_scores(id_evidence, ood_evidence, GROUPS, bound("msp", "ash-s"))
    assert [(r["score"], r["dataset"], r["group"]) for r in rows] == [
        ("msp", "gratings", "near"),
        ("msp", "noise", "far"),
        ("ash-s", "gratings", "near"),
        ("ash-s", "noise", "far"),
    ]
    assert all(list(row) == COLUMNS for row in rows)
    assert {name: set(by_dataset) for name, by_dataset in tensors.items()} == {
        name: {"id", *GROUPS} for name in ("msp", "ash-s")
    }
    expected = detection_metrics(
        SCORES["ash-s"](id_evidence, percentile=75), SCORES["ash-s"](ood_evidence["noise"], percentile=75)
    )
    assert {key: rows[3][key] for key in COLUMNS[3:]} == {key: expected[key] for key in COLUMNS[3:]}
    assert torch.equal(tensors["ash-s"]["id"], SCORES["ash-s"](id_evidence, percentile=75))


def test_nan_is_refused_naming_the_set(id_evidence, ood_evidence):
    ood_evidence["noise"].logits[3] = math.nan
    with pytest.raises(DataError, match="noise: 1 of 10"):
        evaluate_scores(id_evidence, ood_evidence, GROUPS, bound("energy"))


# --- files ------------------------------------------------------------------------------------------------------
def test_scores_come_back_as_they_were(tmp_path, id_evidence, ood_evidence):
    _, tensors = evaluate_scores(id_evidence, ood_evidence, GROUPS, bound("msp", "energy", "ash-s"))
    tensors["energy"]["noise"][0] = -math.inf
    save_scores(tmp_path, tensors)
    assert sorted(p.name for p in (tmp_path / "scores").iterdir()) == [
        "ash-s.safetensors",
        "energy.safetensors",
        "msp.safetensors",
    ]
    for score, by_dataset in tensors.items():
        loaded = load_scores(tmp_path / "scores" / f"{score}.safetensors")
        assert loaded.keys() == by_dataset.keys()
        assert all(torch.equal(loaded[name], by_dataset[name]) for name in loaded)


def test_the_same_scores_are_the_same_bytes(tmp_path):
    tensors = {"msp": {"id": torch.rand(5), "svhn": torch.rand(4)}}
    save_scores(tmp_path / "a", tensors)
    save_scores(tmp_path / "b", {"msp": dict(reversed(tensors["msp"].items()))})
    assert (tmp_path / "a/scores/msp.safetensors").read_bytes() == (tmp_path / "b/scores/msp.safetensors").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not safetensors at all",
        safetensors.torch.save({"id": torch.rand(9)})[:-3],
        safetensors.torch.save({"svhn": torch.rand(9)}),
        safetensors.torch.save({"id": torch.rand(3, 3)}),
        safetensors.torch.save({"id": torch.arange(3)}),
        safetensors.torch.save({"id": torch.rand(3), "svhn": torch.tensor([0.5, math.nan])}),
    ],
    ids=["empty", "garbage", "truncated", "no id", "matrix", "integers", "nan"],
)
def test_broken_files_are_refused_by_name(tmp_path, content):
    file = tmp_path / "msp.safetensors"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"msp\.safetensors"):
        load_scores(file)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"absent\.safetensors cannot be read"):
        load_scores(tmp_path / "absent.safetensors")


# --- artefact control -------------------------------------------------------------------------------------------
def thresholds(scores):
    return {name: threshold_at_recall(found["id"]) for name, found in scores.items()}


def test_real_id_images_are_called_ood_in_five_percent(id_evidence, ood_evidence):
    _, scores = evaluate_scores(id_evidence, ood_evidence, GROUPS, bound("msp", "ash-s"))
    rows = artefact_control(thresholds(scores), bound("msp", "ash-s"), id_evidence)
    assert [(r["score"], r["n"]) for r in rows] == [("msp", 30), ("ash-s", 30)]
    assert all(r["called_ood"] == pytest.approx(1 / 30) for r in rows), "at most 5 % of 30 images is one"


def test_the_share_called_ood_is_the_rest_of_what_fpr95_counts(id_evidence, ood_evidence):
    rows, scores = evaluate_scores(id_evidence, ood_evidence, GROUPS, bound("msp", "energy", "ash-s"))
    accepted = {r["score"]: r["fpr95"] for r in rows if r["dataset"] == "noise"}
    for row in artefact_control(thresholds(scores), bound("msp", "energy", "ash-s"), ood_evidence["noise"]):
        assert row["called_ood"] == pytest.approx(1 - accepted[row["score"]])


def test_painted_images_that_are_scored_nan_are_refused(id_evidence):
    id_evidence.logits[0] = math.nan
    with pytest.raises(DataError, match="painted ID images: 1 of 30"):
        artefact_control({"energy": 0.0}, bound("energy"), id_evidence)
