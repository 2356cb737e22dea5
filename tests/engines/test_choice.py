"""Which backend, which arithmetic: every choice with its reason, and refusals that name the way out."""

import pytest

from dogfast.engines import choice
from dogfast.engines.choice import choose_arithmetic, choose_backend, precision_of
from dogfast.engines.table import NETWORKS
from dogfast.errors import EnvironmentFault, UsageError


@pytest.fixture
def installed(monkeypatch):
    """Let only these backends be installed; the processor has bf16 unless told otherwise."""

    def only(*backends, bf16=True, gpu="sm90"):
        fault = lambda backend: "" if backend == "torch" or backend in backends else "is not installed"  # noqa: E731
        monkeypatch.setattr(choice, "why_not", fault)
        monkeypatch.setattr(choice, "processor_has_bf16", lambda: bf16)
        monkeypatch.setattr(choice, "present_target", lambda device: gpu)

    return only


@pytest.mark.parametrize(
    "device, backends, bf16, gpu, expected",
    [
        ("cpu", ("openvino", "onnxruntime"), True, "", "openvino"),
        ("cpu", ("onnxruntime",), True, "", "torch"),
        ("cpu", ("onnxruntime",), False, "", "onnxruntime"),
        ("cpu", (), False, "", "torch"),
        ("cuda", ("tensorrt", "tensorrt-rtx", "openvino"), True, "sm90", "tensorrt"),
        ("cuda:1", ("tensorrt-rtx",), True, "sm86", "tensorrt-rtx"),
        ("cuda", ("tensorrt-rtx",), True, "sm90", "torch"),
        ("cuda", ("openvino", "onnxruntime"), True, "sm86", "torch"),
    ],
)
def test_the_fastest_that_is_here(installed, device, backends, bf16, gpu, expected):
    installed(*backends, bf16=bf16, gpu=gpu)
    found = choose_backend("auto", device)
    assert found.value == expected and found.reason


def test_what_is_faster_and_passed_over_is_said(installed):
    installed(gpu="sm86")
    assert choose_backend("auto", "cuda").reason == ("torch.compile; tensorrt is not installed; tensorrt-rtx is not installed")


@pytest.mark.parametrize("device, precision", [("cpu", "fp16"), ("cuda", "fp32"), ("cuda", "bf16")])
def test_an_arithmetic_asked_for_decides_too(installed, device, precision):
    installed("openvino", "tensorrt", "tensorrt-rtx", gpu="sm86")
    found = choose_backend("auto", device, precision=precision)
    assert found.value == "torch" and f"does not compute in {precision}" in found.reason


def test_a_tensorrt_that_does_not_load_is_passed_over_and_said(monkeypatch):
    def broken(name):
        raise OSError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(choice, "find_spec", lambda name: name)
    monkeypatch.setattr("dogfast.engines.backends.tensorrt.importlib.import_module", broken)
    monkeypatch.setattr(choice, "present_target", lambda device: "sm90")
    found = choose_backend("auto", "cuda")
    assert found.value == "torch" and "tensorrt does not load (tensorrt: libnvinfer.so.11" in found.reason
    with pytest.raises(EnvironmentFault, match="--backend tensorrt: it does not load"):
        choose_backend("tensorrt", "cuda")


def test_rtx_is_refused_on_other_gpus(installed):
    installed("tensorrt-rtx", gpu="sm90")
    with pytest.raises(UsageError, match="--backend tensorrt-rtx does not run on sm90, only on sm75"):
        choose_backend("tensorrt-rtx", "cuda")


def test_a_target_needs_the_one_that_builds_for_it(installed):
    installed("tensorrt-rtx", "openvino")
    assert choose_backend("auto", "cpu", "sm86").value == "tensorrt-rtx"
    assert choose_backend("tensorrt-rtx", "cpu", "sm86").value == "tensorrt-rtx"
    with pytest.raises(UsageError, match="--target sm86: only tensorrt-rtx"):
        choose_backend("openvino", "cpu", "sm86")


@pytest.mark.parametrize("target", ["", "sm86"])
@pytest.mark.parametrize("wanted", ["auto", "tensorrt-rtx"])
def test_what_is_not_installed_says_how(installed, wanted, target):
    installed()
    if not target and wanted == "auto":
        assert choose_backend(wanted, "cuda").value == "torch"
        return
    with pytest.raises(EnvironmentFault, match=r"tensorrt-rtx.*pip install 'dogfast\[rtx\]'"):
        choose_backend(wanted, "cuda", target)


@pytest.mark.parametrize(
    "wanted, device", [("openvino", "cuda"), ("tensorrt", "cpu"), ("tensorrt-rtx", "cpu"), ("onnxruntime-tensorrt", "cpu")]
)
def test_what_does_not_run_there_names_what_does(installed, wanted, device):
    installed("openvino", "tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt")
    with pytest.raises(UsageError, match=f"--backend {wanted} does not run on {device}; use .*torch"):
        choose_backend(wanted, device)


@pytest.mark.parametrize(
    "backend, device, target, expected",
    [
        ("torch", "cpu", "", "bf16"),
        ("openvino", "cpu", "", "bf16"),
        ("onnxruntime", "cpu", "", "fp32"),
        ("onnxruntime", "cuda", "", "fp16"),
        ("onnxruntime-tensorrt", "cuda", "", "fp16"),
        ("tensorrt", "cuda", "", "fp16"),
        ("tensorrt-rtx", "cpu", "sm86", "fp16"),
    ],
)
def test_the_arithmetic_a_backend_has(monkeypatch, backend, device, target, expected):
    from dogfast.environment import Choice

    monkeypatch.setattr(choice, "choose_precision", lambda wanted, device: Choice("bf16", "here"))
    found = choose_arithmetic("auto", backend, device, target)
    assert found.value == expected and found.reason


def test_an_arithmetic_it_has_not_is_refused():
    assert choose_arithmetic("fp32", "openvino", "cpu").value == "fp32"
    with pytest.raises(UsageError, match="--precision bf16: onnxruntime has fp32 there"):
        choose_arithmetic("bf16", "onnxruntime", "cpu")


@pytest.mark.parametrize(
    "name, backend, precision, expected",
    [
        ("unet", "openvino", "bf16", "bf16"),
        ("vae_decoder", "openvino", "bf16", "bf16"),
        ("text_encoder", "openvino", "bf16", "fp32"),
        ("image_encoder", "torch", "bf16", "fp32"),
        ("vae_encoder", "torch", "bf16", "fp32"),
        ("vae_decoder", "torch", "fp16", "fp32"),
        ("tiny_decoder", "torch", "fp16", "fp16"),
        ("vae_decoder", "onnxruntime", "fp16", "fp32"),
        ("text_encoder", "tensorrt-rtx", "fp16", "fp16"),
        ("vae_decoder", "tensorrt", "fp16", "fp16"),
    ],
)
def test_towers_and_vae_keep_what_they_need(name, backend, precision, expected):
    assert precision_of(NETWORKS[name], backend, precision) == expected
