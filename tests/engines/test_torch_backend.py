"""The torch backend: shapes, dtypes, precisions, and that it leaves its inputs alone."""

import pytest
import torch
from torch.nn import functional as F

from dogfast.config.model import ModelConfig
from dogfast.diffusion.autoencoder import decode_latents
from dogfast.diffusion.guidance import Guidance, guided
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import tokenize
from dogfast.diffusion.schedule import trailing
from dogfast.diffusion.solvers import SOLVERS
from dogfast.engines.opening import open_networks
from dogfast.engines.table import DTYPES
from dogfast.events import Events

ROWS = 3


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


@pytest.fixture(scope="module")
def inputs(pipeline):
    generator = torch.Generator().manual_seed(0)
    return dict(
        ids=tokenize(pipeline.tokenizer, ["a circle", "a photo of a star", ""]),
        images=torch.randint(0, 256, (ROWS, 3, 24, 24), generator=generator).to(torch.uint8),
        latents=torch.randn(ROWS, 4, 8, 8, generator=generator),
        timesteps=torch.tensor([999.0, 500.0, 1.0]),
    )


def torch_networks(pipeline, precision):
    return open_networks(pipeline, ModelConfig(backend="torch", device="cpu", precision=precision), Events())


def outputs(networks, inputs):
    states, projected = networks.encode_text(inputs["ids"])
    deep, feature = networks.denoise_deep(inputs["latents"], inputs["timesteps"], states)
    return dict(
        states=states,
        projected=projected,
        images=networks.encode_image(inputs["images"]),
        eps=networks.denoise(inputs["latents"], inputs["timesteps"], states),
        deep=deep,
        shallow=networks.denoise_shallow(inputs["latents"], inputs["timesteps"], states, feature),
        decoded=networks.decode(inputs["latents"]),
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_shapes_and_float32_outside_whatever_it_computes_in(pipeline, inputs, precision):
    networks = torch_networks(pipeline, precision)
    before = {name: value.clone() for name, value in inputs.items()}
    found = outputs(networks, inputs)
    shapes = dict(states=(3, 16, 32), projected=(3, 24), images=(3, 24), decoded=(3, 3, 32, 32))
    shapes |= dict.fromkeys(("eps", "deep", "shallow"), (3, 4, 8, 8))
    assert {name: tuple(value.shape) for name, value in found.items()} == shapes
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in found.values())
    assert all(torch.equal(before[name], value) and value.dtype == before[name].dtype for name, value in inputs.items())
    assert (networks.backend, networks.device, networks.precision) == ("torch", "cpu", precision)


def test_fp32_is_the_networks_themselves(pipeline, inputs):
    found = outputs(torch_networks(pipeline, "fp32"), inputs)
    with torch.no_grad():
        states = pipeline.text_encoder(inputs["ids"]).last_hidden_state
        eps = pipeline.unet(inputs["latents"], inputs["timesteps"], states).sample
        decoded = decode_latents(pipeline.vae, inputs["latents"])
        pixels = F.interpolate(inputs["images"].float() / 255, (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
        images = pipeline.image_encoder((pixels - 0.5) / 0.5).image_embeds
    torch.testing.assert_close(found["states"], states)
    for name in ("eps", "deep", "shallow"):
        torch.testing.assert_close(found[name], eps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["decoded"], decoded, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["images"], images, rtol=1e-4, atol=1e-5)


def test_bf16_stays_close_to_fp32_and_the_towers_are_equal(pipeline, inputs):
    full, half = (outputs(torch_networks(pipeline, precision), inputs) for precision in ("fp32", "bf16"))
    for name in ("eps", "deep", "shallow", "decoded"):
        cosine = F.cosine_similarity(full[name].flatten(1), half[name].flatten(1)).min()
        assert cosine >= 0.999, (name, float(cosine))
        assert not torch.equal(full[name], half[name]), f"{name} was not computed in bf16"
    for name in ("states", "projected", "images"):
        assert torch.equal(full[name], half[name]), f"{name} must not depend on --precision"


def test_fp16_keeps_the_vae_in_fp32(pipeline, inputs):
    full, half = (torch_networks(pipeline, precision) for precision in ("fp32", "fp16"))
    assert torch.equal(half.decode(inputs["latents"]), full.decode(inputs["latents"]))
    states = half.encode_text(inputs["ids"])[0]
    eps, reference = (each.denoise(inputs["latents"], inputs["timesteps"], states) for each in (half, full))
    assert eps.dtype == torch.float32 and not torch.equal(eps, reference)
    assert F.cosine_similarity(eps.flatten(1), reference.flatten(1)).min() >= 0.9999


def test_the_pipelines_networks_stay_as_loaded(pipeline, inputs):
    outputs(torch_networks(pipeline, "bf16"), inputs)
    for name in ("unet", "vae", "text_encoder", "image_encoder"):
        network = getattr(pipeline, name)
        assert not network.training
        assert all(p.dtype == torch.float32 and not p.requires_grad for p in network.parameters())


def test_rows_do_not_meet(pipeline, inputs):
    networks = torch_networks(pipeline, "fp32")
    together = outputs(networks, inputs)
    for row in range(ROWS):
        alone = outputs(networks, {name: value[[row]] for name, value in inputs.items()})
        for name, value in alone.items():
            torch.testing.assert_close(value[0], together[name][row], rtol=1e-4, atol=1e-5)


def test_each_network_is_prepared_once(pipeline, inputs, monkeypatch):
    import dogfast.engines.backends.torch as backend

    copied = []
    original = backend.deepcopy
    monkeypatch.setattr(backend, "deepcopy", lambda network: copied.append(type(network).__name__) or original(network))
    networks = torch_networks(pipeline, "bf16")
    assert copied == []
    outputs(networks, inputs)
    outputs(networks, inputs)
    assert len(copied) == 6 == len(set(copied))


@pytest.mark.parametrize("name, count", [("unet", 8), ("unet_deep", 8), ("unet_shallow", 6)])
def test_xformers_is_put_into_every_attention(pipeline, name, count, monkeypatch):
    from diffusers.models.attention_processor import Attention

    import dogfast.engines.backends.torch as backend

    told = []
    monkeypatch.setattr(
        Attention, "set_use_memory_efficient_attention_xformers", lambda part, valid: told.append((part, valid))
    )
    backend._use_xformers(backend.wrap(pipeline, name))
    assert len(told) == count and all(valid for _, valid in told)


def test_dtypes_are_what_their_names_say():
    assert DTYPES == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def test_sampling_through_the_seam(pipeline, inputs):
    networks = torch_networks(pipeline, "bf16")
    text, empty = networks.encode_text(inputs["ids"][:2])[0], networks.encode_text(inputs["ids"][2:])[0]
    schedule = trailing(pipeline.alphas_cumprod, 4)
    predict = guided(networks.denoise, text, empty, Guidance(4.0, 0.0, 0.7), 4)
    latents = SOLVERS["dpm++2m"].solve(predict, inputs["latents"][:2], schedule, None)
    assert latents.dtype == torch.float32 and latents.isfinite().all()
    assert networks.decode(latents).shape == (2, 3, 32, 32)


def test_what_was_loaded_for_inference_can_be_learned_through_later(random_pipeline):
    """Textual inversion may follow an embedding of words in the same process."""
    pipeline = Pipeline(ModelConfig(), str(random_pipeline))
    ids = tokenize(pipeline.tokenizer, ["a circle"])
    torch_networks(pipeline, "fp32").encode_text(ids)
    state = torch.ones(pipeline.text_projection.shape[1], requires_grad=True)
    (pipeline.text_projection @ state).sum().backward()
    assert state.grad.abs().sum() > 0
