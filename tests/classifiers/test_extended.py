"""A class of rejection, four rotations: what they compute, and that they come back from disk."""

import json

import pytest
import torch

from dogfast.classifiers.backbones import build
from dogfast.classifiers.evidence import collect_evidence
from dogfast.classifiers.loading import extend, load_classifier, save_classifier
from dogfast.classifiers.rotations import RotationAveraged, turned
from dogfast.errors import DataError

FACTS = {
    "backbone": "wrn-10-1",
    "class_names": ["a", "b", "c"],
    "image_px": 8,
    "mean": [0.4] * 3,
    "std": [0.2] * 3,
    "dropout": 0,
}


def fresh(rejection=False, rotations=False):
    torch.manual_seed(0)
    model = build("wrn-10-1", FACTS["class_names"], FACTS["mean"], FACTS["std"])
    return extend(model, rejection=rejection, rotations=rotations).eval()


def images(n=5):
    return torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_turned_images_are_quarter_turns_of_each():
    rows = images(2)
    for quarter, part in enumerate(turned(rows).chunk(4)):
        assert all(torch.equal(part[n], rows[n].rot90(quarter, (1, 2))) for n in range(2))


def test_at_first_the_backbones_logits_are_averaged_over_rotations():
    model, some = fresh(rotations=True), images() / 255
    expected = torch.stack([model.backbone(some.rot90(quarter, (2, 3))) for quarter in range(4)]).mean(0)
    torch.testing.assert_close(model(some), expected)


def test_a_mean_of_heads_of_each_rotation_is_one_head_on_all_features():
    model, some = fresh(rotations=True), images() / 255
    heads = [torch.nn.Linear(64, 3) for _ in range(4)]
    with torch.no_grad():
        model.head.weight.copy_(torch.cat([head.weight for head in heads], 1) / 4)
        model.head.bias.copy_(sum(head.bias for head in heads) / 4)
    expected = sum(head(model.backbone.features(some.rot90(q, (2, 3)))) for q, head in enumerate(heads)) / 4
    torch.testing.assert_close(model(some), expected)
    assert model.head.in_features == 256


def test_evidence_holds_the_logit_of_rejection():
    model = fresh(rejection=True)
    evidence = collect_evidence(model, images(), 2, "cpu", "fp32")
    with torch.no_grad():
        torch.testing.assert_close(evidence.rejection, model.rejection(model.features(images() / 255))[:, 0])
    assert evidence.logits.shape == (5, 3) and evidence.rejection.dtype == torch.float32
    assert collect_evidence(fresh(), images(), 2, "cpu", "fp32").rejection is None


@pytest.mark.parametrize("rejection", [False, True])
@pytest.mark.parametrize("rotations", [False, True])
def test_they_come_back_as_they_were(tmp_path, rejection, rotations):
    model = fresh(rejection, rotations)
    save_classifier(tmp_path, model, FACTS | {"rejection": rejection, "rotations": rotations})
    loaded, facts = load_classifier(tmp_path)
    assert (facts["rejection"], facts["rotations"]) == (rejection, rotations)
    assert isinstance(loaded, RotationAveraged) == rotations and hasattr(loaded, "rejection") == rejection
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True))
    before, after = (collect_evidence(m, images(), 5, "cpu", "fp32") for m in (model, loaded))
    assert torch.equal(before.logits, after.logits)


def test_earlier_records_mean_neither(tmp_path):
    save_classifier(tmp_path, fresh(), FACTS)
    record = json.loads((tmp_path / "train.json").read_text())
    for name in ("rejection", "rotations", "architecture"):
        del record[name]
    (tmp_path / "train.json").write_text(json.dumps(record))
    model, facts = load_classifier(tmp_path)
    assert type(model).__name__ == "WideResNet" and facts["rejection"] is facts["rotations"] is False


@pytest.mark.parametrize("change", [{"rejection": True}, {"rotations": True}], ids=str)
def test_a_record_that_claims_what_the_weights_are_not(tmp_path, change):
    save_classifier(tmp_path, fresh(), FACTS)
    record = json.loads((tmp_path / "train.json").read_text()) | change
    (tmp_path / "train.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"model\.safetensors does not fit its backbone"):
        load_classifier(tmp_path)
