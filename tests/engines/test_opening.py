"""The stages' callables on every backend that runs here: the same answers as torch, any number of words and images."""

import pytest
import torch
from torch.nn import functional as F

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import tokenize
from dogfast.engines import opening
from dogfast.engines.opening import open_networks
from dogfast.engines.table import ENCODER_ROWS
from dogfast.environment import processor_has_bf16
from dogfast.events import Events

BACKENDS = ("openvino", "onnxruntime")
needs_bf16 = pytest.mark.skipif(not processor_has_bf16(), reason="this processor has no bf16")


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


def opened(pipeline, backend, precision="fp32"):
    if backend != "torch":
        pytest.importorskip(backend, reason=f"{backend} is not installed (extra cpu)")
    return open_networks(pipeline, ModelConfig(backend=backend, device="cpu", precision=precision), Events())


@pytest.fixture(scope="module")
def inputs(pipeline):
    generator = torch.Generator().manual_seed(0)
    return dict(
        ids=tokenize(pipeline.tokenizer, ["a circle", "a photo of a star", ""]),
        pictures=torch.randint(0, 256, (3, 3, 24, 24), generator=generator).to(torch.uint8),
        images=torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1,
        latents=torch.randn(3, 4, 8, 8, generator=generator),
        timesteps=torch.tensor([999.0, 500.0, 1.0]),
    )


def outputs(networks, inputs):
    states, projected = networks.encode_text(inputs["ids"])
    return dict(
        states=states,
        projected=projected,
        pictures=networks.encode_image(inputs["pictures"]),
        latents=networks.encode(inputs["images"]),
        noise=networks.denoise(inputs["latents"], inputs["timesteps"], states),
        images=networks.decode(inputs["latents"]),
    )


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_answers_as_torch_does(pipeline, inputs, backend):
    expected = outputs(opened(pipeline, "torch"), inputs)
    before = {name: value.clone() for name, value in inputs.items()}
    found = outputs(opened(pipeline, backend), inputs)
    for name, value in found.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")
    assert all(torch.equal(before[name], value) for name, value in inputs.items())


@pytest.fixture(scope="module")
def whole(pipeline, inputs):
    """What torch computes a whole UNet from, and the noise and feature it says."""
    networks = opened(pipeline, "torch")
    given = inputs["latents"], inputs["timesteps"], networks.encode_text(inputs["ids"])[0]
    return given, *networks.denoise_deep(*given)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_with_the_same_inputs_feature_the_outermost_layers_say_what_the_whole_says(pipeline, whole, backend):
    given, noise, feature = whole
    found = opened(pipeline, backend).denoise_shallow(*given, feature)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, noise, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_whole_unet_and_its_feature_are_torchs(pipeline, whole, backend):
    given, noise, feature = whole
    found = opened(pipeline, backend).denoise_deep(*given)
    for ours, theirs in zip(found, (noise, feature), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@needs_bf16
def test_deepcache_in_bf16_stays_close(pipeline, whole):
    given, noise, feature = whole
    networks = opened(pipeline, "openvino", "bf16")
    deep, kept = networks.denoise_deep(*given)
    for ours, theirs in ((deep, noise), (kept, feature), (networks.denoise_shallow(*given, kept), noise)):
        assert F.cosine_similarity(ours.flatten(1), theirs.flatten(1)).min() >= 0.999


@needs_bf16
def test_bf16_by_a_hint_stays_close_and_spares_the_towers(pipeline, inputs):
    expected = outputs(opened(pipeline, "torch"), inputs)
    found = outputs(opened(pipeline, "openvino", "bf16"), inputs)
    for name in ("noise", "images"):
        cosine = F.cosine_similarity(found[name].flatten(1), expected[name].flatten(1)).min()
        assert cosine >= 0.999, name
    for name in ("states", "projected", "pictures", "latents"):
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-3)


@needs_bf16
def test_timesteps_that_bf16_cannot_tell_apart_are_told_apart(pipeline, inputs):
    networks, latents = opened(pipeline, "openvino", "bf16"), inputs["latents"][:1]
    states, _ = networks.encode_text(inputs["ids"][:1])
    one, other = (networks.denoise(latents, torch.tensor([timestep]), states) for timestep in (998.5, 1001.5))
    assert torch.tensor(998.5).bfloat16() == torch.tensor(1001.5).bfloat16() and not torch.equal(one, other)


@pytest.mark.parametrize("rows", [1, ENCODER_ROWS, ENCODER_ROWS + 1])
def test_any_number_of_words_and_images_meets_one_engine(pipeline, inputs, rows, monkeypatch):
    shapes = []
    networks = opened(pipeline, "openvino")
    reference = opened(pipeline, "torch")
    real = opening.Workshop.open
    monkeypatch.setattr(opening.Workshop, "open", lambda self, *args: shapes.append(args[1]) or real(self, *args))
    ids = inputs["ids"][:1].expand(rows, -1)
    pictures = inputs["pictures"][:1].expand(rows, -1, -1, -1)
    states, projected = networks.encode_text(ids)
    assert states.shape[0] == projected.shape[0] == len(networks.encode_image(pictures)) == rows
    torch.testing.assert_close(projected, reference.encode_text(ids)[1], rtol=1e-3, atol=1e-3)
    assert {shape[0][0] for shape in shapes} == {ENCODER_ROWS} and len(shapes) == 2


def test_short_words_cost_no_other_engine_and_change_nothing(pipeline, inputs):
    networks, ids = opened(pipeline, "openvino"), inputs["ids"]
    states, projected = networks.encode_text(ids[:, :8])
    whole_states, whole = networks.encode_text(ids)
    assert states.shape[1] == 8
    torch.testing.assert_close(projected, whole, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(states, whole_states[:, :8], rtol=1e-3, atol=1e-3)


def test_choices_are_announced_with_their_reasons(pipeline):
    said = []
    events = Events(lambda event, fields: said.append(fields["text"]))
    open_networks(pipeline, ModelConfig(backend="torch", device="cpu", precision="fp32"), events)
    assert said == [
        "backend torch (asked for by --backend) on cpu (asked for by --device), fp32 (asked for by --precision)",
        "attention sdpa: torch's fused attention",
    ]


def test_nothing_is_made_before_it_is_needed(pipeline, tmp_path):
    open_networks(pipeline, ModelConfig(backend="openvino", device="cpu", engine_dir=str(tmp_path / "engines")), Events())
    assert not (tmp_path / "engines").exists()
