"""`dogfast evaluate` as typed, with every score there is."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from dogfast.classifiers.backbones import build
from dogfast.classifiers.loading import save_classifier
from dogfast.cli.main import app
from dogfast.config.detection import SCORES
from dogfast.data import shapes

WORDS = ("--objective", "ce", "--classes", "shapes", "--id-images", "120", "--image-px", "16", "--ood-images", "12")


@pytest.fixture
def run(run, few_test_images):
    """A run with an untrained classifier of shapes."""
    torch.manual_seed(0)
    facts = {"backbone": "wrn-10-1", "class_names": list(shapes.ID_WORDS), "image_px": 16}
    facts |= {"mean": [0.5] * 3, "std": [0.25] * 3, "dropout": 0.0}
    save_classifier(run.classifier("ce"), build("wrn-10-1", shapes.ID_WORDS, facts["mean"], facts["std"]), facts)
    return run


def typed(run, *words):
    done = CliRunner().invoke(app, ["evaluate", str(run.root), *WORDS, *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_every_score_on_a_tiny_run(run):
    asked = [word for score in SCORES for word in ("--scores", score)]
    answer = typed(run, *asked, "--ood", "gaussian", "--ood", "held-out-shapes", "--json")
    assert [(row["score"], row["dataset"]) for row in answer["rows"]] == [
        (score, dataset) for score in SCORES for dataset in ("gaussian", "held-out-shapes")
    ]
    assert all(0 <= row["auroc"] <= 1 and (row["n_id"], row["n_ood"]) == (16, 12) for row in answer["rows"])
    chosen = answer["hyper_parameters"]
    assert list(chosen) == ["odin", "ash-s", "ash-b", "ash-p", "scale", "knn"]
    assert all("best validation AUROC" in choice["reason"] for choice in chosen.values())
    assert {path.stem for path in (run.evaluation("ce") / "scores").iterdir()} == set(SCORES)


def test_a_part_of_the_training_images_is_enough_for_neighbours(run):
    words = ("--scores", "knn", "--ood", "gaussian", "--json")
    whole, part = typed(run, *words), typed(run, *words, "--knn-share", "0.2")
    assert "of 1, 10, 50" in whole["hyper_parameters"]["knn"]["reason"]
    assert part["hyper_parameters"]["knn"]["reason"].endswith("of 1, 10")


def test_protocols_and_verdicts_are_read_below_the_command(run):
    words = ("--ood", "gaussian", "--ood", "held-out-shapes", "--scores", "msp", "--keep-features", "fp16")
    typed(run, *words, "--json")
    shutil.copytree(run.classifier("ce"), run.classifier("dog"))
    words = [
        "evaluate",
        str(run.root),
        *WORDS,
        *words,
        "--objective",
        "dog",
        "--protocol",
        "openood",
        "--corrupted-images",
        "0",
    ]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and lines[0].startswith("openood: FPRood")
    assert [line.split() for line in lines if line.startswith("  score")] == [["score", "gaussian", "held-out-shapes", "mean"]]
    assert lines[-1].split() == ["msp", *["+0.00", "undecided"] * 3]
    assert {path.stem for path in (run.evaluation("dog") / "features").iterdir()} == {"id", "gaussian", "held-out-shapes"}
