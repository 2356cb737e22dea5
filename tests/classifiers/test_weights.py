"""Weights from elsewhere: what is taken, what is made anew, and what is refused in one sentence."""

import collections
import pickle

import pytest
import torch
from safetensors.torch import save_file

from dogfast.classifiers.resnet import ResNet
from dogfast.classifiers.weights import fitting, read_weights
from dogfast.classifiers.wrn import WideResNet
from dogfast.errors import DataError, UsageError


def small(classes=4):
    return WideResNet(10, 1, classes)


def foreign(model):
    """The tensors as others save them, without our normalisation."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if name not in ("mean", "std")}


def adopt(model, tensors, path):
    save_file(tensors, path)
    return fitting(model, read_weights(path, False), path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def test_every_tensor_arrives(path):
    torch.manual_seed(3)
    source, model = small(), small()
    found = adopt(model, foreign(source), path)
    model.load_state_dict(found, strict=False)
    assert found.keys() == foreign(source).keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in foreign(source).items())


def test_the_normalisation_of_our_own_files_comes_along(path):
    source = WideResNet(10, 1, 4, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert adopt(small(), dict(source.state_dict()), path)["std"].tolist() == pytest.approx([0.4, 0.5, 0.6])


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.model.", "model.module."])
def test_what_scripts_put_before_every_name_is_stripped(path, prefix):
    tensors = foreign(small())
    assert adopt(small(), {prefix + name: tensor for name, tensor in tensors.items()}, path).keys() == tensors.keys()


def test_half_precision_and_missing_counters_do(path):
    halved = {n: t.half() if t.is_floating_point() else t for n, t in foreign(small()).items() if "num_batches" not in n}
    found = adopt(small(), halved, path)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s | {"head.weight": torch.zeros(1000, 64), "head.bias": torch.zeros(1000)},
        lambda s: {n: t for n, t in s.items() if not n.startswith("head.")},
    ],
    ids=["other classes", "none"],
)
def test_a_head_of_other_classes_is_left_out(path, change):
    found = adopt(small(), change(foreign(small())), path)
    assert found.keys() == {name for name in foreign(small()) if not name.startswith("head.")}


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda s: {n: t for n, t in s.items() if n != "stem.weight"}, "tensor 'stem.weight' is missing"),
        (lambda s: s | {"extra": torch.zeros(1)}, "tensor 'extra' is unknown"),
        (lambda s: s | {"stem.weight": torch.zeros(16, 3, 5, 5)}, r"'stem.weight' is torch.float32 \(16, 3, 5, 5\), expected"),
        (lambda s: s | {"norm.bias": torch.zeros(64, dtype=torch.int64)}, "'norm.bias' is torch.int64"),
        (lambda s: s | {"norm.bias": torch.full((64,), float("nan"))}, "'norm.bias' holds values that are not finite"),
        (lambda s: s | {"head.bias": torch.full((4,), float("inf"))}, "'head.bias' holds values that are not finite"),
    ],
    ids=["missing", "unknown", "shape", "type", "nan", "inf"],
)
def test_what_does_not_fit_is_named(path, change, said):
    with pytest.raises(DataError, match=rf"--weights .*weights\.safetensors do not fit --backbone: {said}"):
        adopt(small(), change(foreign(small())), path)


def test_torchvisions_stem_is_not_that_of_small_images(path):
    with torch.device("meta"):
        large, little = ResNet("resnet-18", 4, 224), ResNet("resnet-18", 4, 32)
    tensors = {name: torch.empty_like(t, device="cpu").zero_() for name, t in foreign(large).items()}
    assert fitting(large, tensors, path).keys() == tensors.keys()
    with pytest.raises(DataError, match=r"'conv1.weight' is torch.float32 \(64, 3, 7, 7\).*--image-px"):
        fitting(little, tensors, path)


# --- pickles ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}], ids=("bare", "state_dict", "model")
)
@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_pickles_are_read_with_the_flag_alone(tmp_path, suffix, wrap):
    path, tensors = tmp_path / f"w{suffix}", foreign(small())
    torch.save(wrap(collections.OrderedDict(tensors)), path)
    with pytest.raises(UsageError, match="--allow-pickle"):
        read_weights(path, False)
    assert read_weights(path, True).keys() == tensors.keys()


def test_a_pickle_that_runs_code_is_refused_even_with_the_flag(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    path = tmp_path / "w.pt"
    torch.save({"a": Evil()}, path)
    with pytest.raises(DataError, match=r"--weights .*w\.pt cannot be read"):
        read_weights(path, True)
    path.write_bytes(pickle.dumps(Evil(), 2))
    with pytest.raises(DataError, match="cannot be read"):
        read_weights(path, True)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 64, (2**62).to_bytes(8, "little") + b"{}"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"--weights .*{name} cannot be read"):
        read_weights(tmp_path / name, True)


@pytest.mark.parametrize("held", [{}, [1], {"epoch": 3}, {"state_dict": {"a": 1}}, torch.zeros(3)], ids=str)
def test_what_holds_no_tensors_by_name_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(DataError, match="holds no tensors by name"):
        read_weights(tmp_path / "w.pt", True)


def test_missing_files_and_other_kinds(tmp_path):
    with pytest.raises(DataError, match=r"gone\.safetensors cannot be read"):
        read_weights(tmp_path / "gone.safetensors", False)
    with pytest.raises(UsageError, match=r"--weights .*w\.onnx is neither \.safetensors nor \.pt nor \.pth"):
        read_weights(tmp_path / "w.onnx", True)
