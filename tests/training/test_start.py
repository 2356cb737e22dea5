"""What a training from scratch begins with: weights of a file, published classifiers, classifiers of more than K logits."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from dogfast.classifiers.backbones import build
from dogfast.classifiers.huggingface import IMAGENET
from dogfast.classifiers.loading import load_classifier
from dogfast.classifiers.rotations import RotationAveraged
from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.detection.stage import evaluate
from dogfast.errors import DataError, RunMismatch, UsageError
from dogfast.events import Events
from dogfast.run import Run
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.objectives.oe import OutlierExposure
from dogfast.training.stage import train
from dogfast.training.start import check_start

CLASSES = len(shapes.ID_WORDS)
helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
TINY = {"backbone": "wrn-10-1", "pretrain_epochs": 1, "epochs": 1, "batch": 8, "ood_batch": 8, "train_precision": "fp32"}
pytestmark = pytest.mark.usefixtures("few_test_images")


@pytest.fixture
def said():
    sentences = []
    return SimpleNamespace(
        sink=lambda event, fields: sentences.append(fields.get("text", "")),
        holds=lambda part: any(part in text for text in sentences),
    )


def config(px=16, **training):
    values = {
        "data": {"id_images": 32, "image_px": px},
        "model": {"device": "cpu", "offline": True},
        "training": TINY | {"objective": "ce"} | training,
        "detection": {"ood": ["gaussian"], "ood_images": 8},
    }
    return RunConfig().with_values(values, "test")


def record(run, name="ce"):
    return json.loads((run.classifier(name) / "train.json").read_text())


@pytest.fixture
def weights(tmp_path):
    """A file of a wrn-10-1 for as many classes as there are, or others."""

    def make(classes=CLASSES, seed=7, name="given.safetensors", ours=False):
        torch.manual_seed(seed)
        state = build("wrn-10-1", ["x"] * classes, (0.1,) * 3, (0.5,) * 3).state_dict()
        kept = {key: value for key, value in state.items() if ours or key not in ("mean", "std")}
        (save_file if name.endswith("safetensors") else torch.save)(kept, tmp_path / name)
        return str(tmp_path / name)

    return make


# --- weights of a file ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ours", [False, True])
def test_with_no_epochs_weights_are_taken_as_they_are(run, weights, ours):
    path = weights(ours=ours)
    train(config(weights=path, pretrain_epochs=0), run, Events())
    model, facts = load_classifier(run.classifier("ce"))
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in load_file(path).items())
    assert (facts["mean"] == pytest.approx([0.1] * 3)) == ours and facts["history"] == []
    result = evaluate(config(weights=path, pretrain_epochs=0), run, "ce", Events())
    assert {row["score"] for row in result["rows"]} == {"msp", "energy", "ash-s"}


def test_training_goes_on_from_weights_and_a_head_of_other_classes_is_said(run, weights, said):
    path = weights(classes=1000)
    train(config(weights=path, pretrain_lr=1e-9), run, Events(said.sink))
    assert said.holds("the weights know other classes than shapes: the head is a fresh one")
    model, _ = load_classifier(run.classifier("ce"))
    torch.testing.assert_close(model.stem.weight, load_file(path)["stem.weight"], atol=1e-6, rtol=0)
    assert model.head.out_features == len(shapes.ID_WORDS)


def test_a_fresh_head_cannot_be_taken_as_it_is(run, weights):
    chosen = config(weights=weights(classes=3), pretrain_epochs=0)
    for refuse in (check_start, lambda c: train(c, run, Events())):
        with pytest.raises(UsageError, match="--pretrain-epochs 0 takes the weights as they are, but they know other classes"):
            refuse(chosen)


def test_the_identity_holds_what_the_file_is_and_not_where_it_lies(run, weights):
    path = weights()
    train(config(weights=path), run, Events())
    assert len(record(run)["identity"]["weights"]) == 64 and path not in json.dumps(record(run))
    moved = Path(path).rename(Path(path).with_name("moved.safetensors"))
    assert train(config(weights=str(moved)), run, Events())["resumed"]
    with pytest.raises(DataError, match=r"--weights .* is no file"):
        train(config(weights=path), run, Events())
    with pytest.raises(RunMismatch, match="weights: was"):
        train(config(weights=weights(seed=8)), run, Events())


def test_a_pickle_gives_what_a_safetensors_file_gives(run, weights, tmp_path):
    other = Run(tmp_path / "other")
    train(config(weights=weights(), pretrain_epochs=0), run, Events())
    train(config(weights=weights(name="w.pth"), pretrain_epochs=0, allow_pickle=True), other, Events())
    assert record(run)["sha256"] == record(other)["sha256"]


def test_another_objective_from_scratch_learns_something(monkeypatch, run, weights):
    monkeypatch.setitem(OBJECTIVES, "oe", OutlierExposure)
    with pytest.raises(
        UsageError, match="--pretrain-epochs 0 takes weights as they are, but --objective oe trains from scratch"
    ):
        train(config(objective="oe", start="scratch", weights=weights(), pretrain_epochs=0), run, Events())


def test_a_resnet_for_large_images_is_normalised_as_torchvisions(tmp_path):
    from dogfast.data.catalogue import load_id
    from dogfast.training.start import fresh_classifier

    path = tmp_path / "r18.safetensors"
    state = build("resnet-18", ["x"] * 1000, (0,) * 3, (1,) * 3, image_px=72).state_dict()
    save_file({name: tensor for name, tensor in state.items() if name not in ("mean", "std")}, path)
    chosen = config(px=72, backbone="resnet-18", weights=str(path))
    check_start(chosen)
    model, facts = fresh_classifier(chosen, load_id(chosen.data), Events())
    assert facts["mean"] == pytest.approx(IMAGENET[0]) and facts["std"] == pytest.approx(IMAGENET[1])
    assert torch.equal(model.conv1.weight, state["conv1.weight"]) and model.fc.out_features == len(shapes.ID_WORDS)
    with pytest.raises(DataError, match="do not fit --backbone"):
        check_start(config(px=32, backbone="resnet-18", weights=str(path)))


# --- published classifiers --------------------------------------------------------------------------------------
@pytest.fixture
def published(tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    size = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    ResNetForImageClassification(ResNetConfig(**size, num_labels=3)).save_pretrained(tmp_path / "published")
    return tmp_path / "published"


def test_a_published_classifier_is_trained_tuned_and_scored(run, published, said):
    chosen = {"backbone": f"hf:{published}"}
    helpers.commit(run.outliers("dog"), 0, count=4, side=16)
    train(config(**chosen), run, Events(said.sink))
    assert said.holds("the head is a fresh one")
    assert record(run)["identity"]["backbone"].startswith("hf:") and str(published) not in json.dumps(record(run)["identity"])
    result = train(config(objective="dog", **chosen), run, Events())
    assert result["skipped_steps"] == 0 and record(run, "dog")["architecture"] == record(run)["architecture"]
    assert len(evaluate(config(objective="dog", **chosen), run, "dog", Events())["rows"]) == 3
    weights_file = published / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-4] + bytes(4))
    with pytest.raises(RunMismatch, match="backbone: was"):
        train(config(**chosen), run, Events())


def test_a_size_that_a_published_classifier_does_not_take_is_refused_first(tmp_path):
    from transformers import ViTConfig, ViTForImageClassification

    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    ViTForImageClassification(ViTConfig(**size, image_size=16, patch_size=8)).save_pretrained(tmp_path)
    check_start(config(backbone=f"hf:{tmp_path}"))
    with pytest.raises(UsageError, match="takes no images of --image-px 24"):
        check_start(config(px=24, backbone=f"hf:{tmp_path}"))


# --- what objectives need ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("start", ["ce", "scratch"])
def test_classifiers_are_built_as_their_objective_needs_them(monkeypatch, run, start):
    class Both(OutlierExposure):
        rejects = rotates = True

        def forward(self, learner, batch):
            assert isinstance(learner.model, RotationAveraged) and learner.model.rejection.in_features == 256
            losses = super().forward(learner, batch)
            return losses

    monkeypatch.setitem(OBJECTIVES, "oe", Both)
    if start == "ce":
        train(config(), run, Events())
        assert (record(run)["rejection"], record(run)["rotations"]) == (False, False)
    chosen = config(objective="oe", start=start, outliers="noise")
    train(chosen, run, Events())
    model, facts = load_classifier(run.classifier("oe+noise"))
    assert facts["rejection"] is facts["rotations"] is True and model.rejection.in_features == 256
    result = evaluate(chosen, run, "oe+noise", Events())
    assert [row["score"] for row in result["rows"]] == ["msp", "energy", "ash-s", "rejection"]
    assert (run.evaluation("oe+noise") / "scores" / "rejection.safetensors").exists()


# --- large images -----------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_images_of_224_px_train_and_are_evaluated(run):
    chosen = {"px": 224, "backbone": "resnet-18", "batch": 8, "ood_batch": 4, "outliers": "noise"}
    train(config(**chosen), run, Events())
    result = train(config(objective="dog", **chosen), run, Events())
    assert result["skipped_steps"] == 0
    model, facts = load_classifier(run.classifier("dog+noise"))
    assert facts["image_px"] == 224 and model.conv1.kernel_size == (7, 7)
    assert len(evaluate(config(objective="dog", **chosen), run, "dog+noise", Events())["rows"]) == 3
