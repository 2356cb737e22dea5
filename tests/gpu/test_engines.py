"""Networks on a GPU: torch.compile, ONNX Runtime's CUDA provider, both TensorRT flavours. Skipped where there is none."""

import pytest
import torch
from torch.nn import functional as F

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.engines.backends.tensorrt import TARGETS
from dogfast.engines.building import Platform, Workshop
from dogfast.engines.cache import Cache
from dogfast.engines.choice import present_target, why_not
from dogfast.engines.examples import example_inputs
from dogfast.engines.opening import open_networks
from dogfast.engines.table import NETWORKS, axis_sizes, input_shapes
from dogfast.engines.wrappers import wrap
from dogfast.events import Events

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")]

ROWS = 4


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("gpu") / "engines")


def wanted(pipeline, name):
    network = NETWORKS[name]
    shapes = input_shapes(network, axis_sizes(pipeline, 32), ROWS)
    return network, shapes, example_inputs(pipeline, network, shapes)


def _lacks_provider(backend):
    """Why this build of ONNX Runtime does not serve ``backend``: the one for CPUs is installed with the tests."""
    wanted = {"onnxruntime": "CUDAExecutionProvider", "onnxruntime-tensorrt": "TensorrtExecutionProvider"}.get(backend)
    if wanted is None:
        return ""
    import onnxruntime

    return "" if wanted in onnxruntime.get_available_providers() else f"is installed without {wanted}"


def workshop_of(backend, pipeline, cache, precision="fp16"):
    if fault := why_not(backend) or _lacks_provider(backend):
        pytest.skip(f"{backend} {fault}")
    if backend == "tensorrt-rtx" and present_target("cuda") not in TARGETS:
        pytest.skip(f"TensorRT for RTX does not build for {present_target('cuda')}")
    return Workshop(pipeline, Platform(backend, "cuda", precision), cache, Events())


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-tensorrt", "tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("name", NETWORKS)
def test_engines_answer_as_torch_in_fp32(pipeline, cache, backend, name):
    network, shapes, inputs = wanted(pipeline, name)
    engine = workshop_of(backend, pipeline, cache).open(network, shapes)
    with torch.no_grad():
        expected = wrap(pipeline, name)(*inputs)
    found = engine(*inputs)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.device.type == "cuda"
        cosine = F.cosine_similarity(ours.float().cpu().flatten(1), theirs.flatten(1)).min()
        assert cosine >= 0.999, float(cosine)
    kept = [tensor.clone() for tensor in found]
    engine(*(torch.zeros_like(tensor) for tensor in inputs))
    assert all(torch.equal(ours, before) for ours, before in zip(found, kept)), "a later call leaves the outputs alone"


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_compiled_networks_answer_as_eager_ones(pipeline, precision):
    networks = open_networks(pipeline, ModelConfig(backend="torch", device="cuda", precision=precision), Events())
    _, _, (latents, timesteps, states) = wanted(pipeline, "unet")
    with torch.no_grad():
        (expected,) = wrap(pipeline, "unet")(latents, timesteps, states)
    for _ in range(2):
        found = networks.denoise(latents, timesteps, states)
        cosine = F.cosine_similarity(found.cpu().flatten(1), expected.flatten(1)).min()
        assert found.dtype == torch.float32 and cosine >= 0.999


def test_stages_mix_rows_and_devices(pipeline):
    networks = open_networks(pipeline, ModelConfig(backend="torch", device="cuda", precision="fp32"), Events())
    _, _, (ids,) = wanted(pipeline, "text_encoder")
    assert networks.encode_text(ids)[0].device.type == "cuda"
    pictures = torch.randint(0, 256, (3, 3, 24, 24)).to(torch.uint8)
    assert networks.encode_image(pictures).shape[0] == 3
