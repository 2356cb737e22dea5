"""Classifiers on disk: what is saved comes back, and what is broken is refused in one sentence."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load, save

from dogfast.classifiers.backbones import build
from dogfast.classifiers.loading import is_trained, load_classifier, save_classifier
from dogfast.errors import DataError, UsageError

FACTS = {
    "backbone": "wrn-10-1",
    "class_names": ["cat", "dog", "Häuschen"],
    "image_px": 8,
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.25, 0.3],
    "dropout": 0.3,
}


def fresh():
    return build("wrn-10-1", FACTS["class_names"], FACTS["mean"], FACTS["std"], 0.3)


@pytest.fixture
def folder(tmp_path):
    save_classifier(tmp_path / "ce", fresh(), FACTS | {"seconds": 1.5})
    return tmp_path / "ce"


def edit_record(folder, **changes):
    """Write changed facts; a value of None removes its field."""
    facts = json.loads((folder / "train.json").read_text()) | changes
    (folder / "train.json").write_text(json.dumps({k: v for k, v in facts.items() if v is not None}))


def rewrite_weights(folder, content):
    """Hostile weights whose checksum is right."""
    (folder / "model.safetensors").write_bytes(content)
    edit_record(folder, sha256=hashlib.sha256(content).hexdigest())


def weights(folder):
    return load((folder / "model.safetensors").read_bytes())


def test_a_classifier_comes_back_as_it_was(tmp_path):
    model = fresh()
    model.to(memory_format=torch.channels_last)(torch.rand(4, 3, 8, 8))  # moves the running statistics
    save_classifier(tmp_path, model, FACTS | {"note": "kept"})
    before = torch.get_rng_state()
    loaded, facts = load_classifier(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert not loaded.training and facts["note"] == "kept" and facts["class_names"] == FACTS["class_names"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(loaded(images), model.eval()(images))


def test_a_loaded_classifier_can_be_trained_on(folder):
    model, _ = load_classifier(folder)
    model.train()(torch.rand(2, 3, 8, 8)).sum().backward()
    assert model.groups[0][0].dropout.p == 0.3
    assert all(p.grad is not None for p in model.parameters())


def test_is_trained_means_the_record_is_there(folder, tmp_path):
    assert is_trained(folder) and not is_trained(tmp_path / "absent")
    (folder / "train.json").unlink()
    assert not is_trained(folder)


def test_saving_again_replaces_and_a_crash_between_leaves_it_untrained(folder, monkeypatch):
    model = fresh()
    save_classifier(folder, model, FACTS)
    assert torch.equal(load_classifier(folder)[0].head.weight, model.head.weight)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dogfast.classifiers.loading.publish", crash)
    with pytest.raises(KeyboardInterrupt):
        save_classifier(folder, fresh(), FACTS)
    assert not is_trained(folder)


def test_facts_that_could_not_be_loaded_are_not_saved(tmp_path):
    with pytest.raises(DataError, match="std"):
        save_classifier(tmp_path, fresh(), FACTS | {"std": [0.2, 0, 0.3]})
    assert not list(tmp_path.iterdir())


def test_build_refuses_an_unknown_backbone():
    with pytest.raises(UsageError, match="--backbone"):
        build("resnet", ["a"], [0, 0, 0], [1, 1, 1], 0.0)


@pytest.mark.parametrize("name", ["train.json", "model.safetensors"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        load_classifier(folder)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_damaged_weights_are_refused(folder, damage):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        load_classifier(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\xff" * 64, (2**62).to_bytes(8, "little") + b"{}", b"\x80\x04.", b"\x02" + bytes(7) + b"[]"],
)
def test_what_is_no_safetensors_is_refused_even_with_the_right_checksum(folder, content):
    rewrite_weights(folder, content)
    with pytest.raises(DataError, match=r"model\.safetensors is not a safetensors file"):
        load_classifier(folder)


def test_truncated_safetensors_with_the_right_checksum(folder):
    rewrite_weights(folder, (folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(DataError, match="not a safetensors file"):
        load_classifier(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {k: v for k, v in s.items() if k != "head.bias"},
        lambda s: s | {"extra": torch.zeros(1)},
        lambda s: s | {"head.weight": torch.zeros(3, 65)},
        lambda s: s | {"head.bias": torch.zeros(3, dtype=torch.float64)},
    ],
    ids=["missing", "extra", "shape", "type"],
)
def test_weights_of_another_network_are_refused(folder, change):
    rewrite_weights(folder, save(change(weights(folder))))
    with pytest.raises(DataError, match=r"model\.safetensors does not fit"):
        load_classifier(folder)


def test_a_record_of_a_huge_network_allocates_nothing(folder):
    for backbone in ("wrn-40-99", "resnet-50"):
        edit_record(folder, backbone=backbone)
        with pytest.raises(DataError, match="does not fit"):
            load_classifier(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder, value):
    state = weights(folder)
    state["head.weight"][0, 0] = value
    rewrite_weights(folder, save(state))
    with pytest.raises(DataError, match=r"head\.weight.*not finite"):
        load_classifier(folder)


@pytest.mark.parametrize("name", [*FACTS, "sha256"])
def test_a_record_without_a_fact_is_refused(folder, name):
    edit_record(folder, **{name: None})
    with pytest.raises(DataError, match=rf"train\.json lacks '{name}'"):
        load_classifier(folder)


@pytest.mark.parametrize(
    "name, value",
    [
        ("backbone", 7),
        ("backbone", "wrn-41-2"),
        ("class_names", "cat"),
        ("class_names", []),
        ("class_names", ["a", 2]),
        ("image_px", "32"),
        ("image_px", True),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("std", [0.5, 0.5, 0]),
        ("std", "abc"),
        ("dropout", 1.0),
        ("dropout", "0.3"),
        ("sha256", 5),
        ("rejection", 1),
        ("rotations", "yes"),
        ("architecture", []),
        ("architecture", {"model_type": "vit"}),
        ("architecture", {"depth": 3}),
    ],
)
def test_facts_of_the_wrong_kind_are_refused(folder, name, value):
    edit_record(folder, **{name: value})
    with pytest.raises(DataError, match=rf"train\.json: '{name}' is not"):
        load_classifier(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_record_that_is_no_object_is_refused(folder, text):
    (folder / "train.json").write_text(text)
    with pytest.raises(DataError, match=r"train\.json"):
        load_classifier(folder)


def test_a_normalisation_that_differs_from_the_weights_is_refused(folder):
    edit_record(folder, mean=[0.1, 0.5, 0.6])
    with pytest.raises(DataError, match="'mean' differs"):
        load_classifier(folder)
