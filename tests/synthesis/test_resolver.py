"""What conditions mean: token states by weight, noise by seed, rows of tables, and starts at ID images."""

import pytest
import torch

import dogfast.synthesis.resolver as module
from dogfast.config.model import ModelConfig
from dogfast.data.images import ImageSet
from dogfast.diffusion.autoencoder import to_signed
from dogfast.diffusion.guidance import Guidance
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.noise import gaussian_noise
from dogfast.diffusion.prompts import initial_rows, token_table, tokenize
from dogfast.diffusion.solvers import SOLVERS
from dogfast.engines.opening import open_networks
from dogfast.events import Events
from dogfast.synthesis.recipes import Recipe
from dogfast.synthesis.resolver import Resolver, Sources, painted_from, prompt_of
from dogfast.synthesis.worker import brush_for

SHAPE, SIGNAL = (4, 8, 8), 0.36


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return Pipeline(ModelConfig(), str(random_pipeline))


@pytest.fixture(scope="module")
def networks(pipeline):
    return open_networks(pipeline, ModelConfig(backend="torch", device="cpu", precision="fp32"), Events())


def images():
    pixels = torch.randint(0, 256, (3, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return ImageSet(pixels, torch.tensor([0, 0, 1]), ("a", "b", "c"), ("one", "two"))


def resolver(pipeline, networks, conditions, **tables):
    return Resolver(conditions, pipeline, networks, SHAPE, SIGNAL, Sources("a photo of a {}", tables, images))


def states_of(pipeline, networks, prompt):
    return networks.encode_text(tokenize(pipeline.tokenizer, [prompt]))[0][0]


def test_texts_are_weighted_sums_of_their_states(pipeline, networks):
    conditions = [{"text": [["a star", 1.0]]}, {"text": [["a star", 0.3], ["a wave", 0.7]]}]
    found = resolver(pipeline, networks, conditions).texts([1, 0, 1], [7, 8, 9])
    star, wave = (states_of(pipeline, networks, prompt) for prompt in ("a star", "a wave"))
    torch.testing.assert_close(found[1], star)
    torch.testing.assert_close(found[0], 0.3 * star + 0.7 * wave)
    assert torch.equal(found[0], found[2])


def test_a_prompt_is_encoded_once_and_the_memory_is_bounded(pipeline, networks, monkeypatch):
    conditions = [{"text": [[f"a photo of {n}", 1.0]]} for n in range(6)]
    made = resolver(pipeline, networks, conditions)
    asked = []
    monkeypatch.setattr(module, "tokenize", lambda tokenizer, prompts: asked.extend(prompts) or tokenize(tokenizer, prompts))
    made.texts([0, 1, 0], [1, 2, 3]), made.texts([1], [4])
    assert asked == ["a photo of 0", "a photo of 1"]
    monkeypatch.setattr(module, "KEPT", 3)
    for row in range(6):
        made.texts([row], [0])
        assert len(made._states) <= 3


def test_noise_on_a_text_is_the_images_own(pipeline, networks):
    made = resolver(pipeline, networks, [{"text": [["a star", 1.0]], "text_noise": 0.3}, {"text": [["a star", 1.0]]}])
    noisy, plain = made.texts([0, 1, 0], [1, 1, 2]), states_of(pipeline, networks, "a star")
    torch.testing.assert_close(noisy[1], plain)
    assert torch.equal(noisy[0], made.texts([0], [1])[0]) and not torch.equal(noisy[0], noisy[2])
    assert (noisy[0] - plain).std() == pytest.approx(0.3, rel=0.15)


def test_a_tables_row_stands_for_a_word(pipeline, networks):
    (star,) = initial_rows(pipeline.tokenizer, token_table(pipeline.text_encoder), ("star",))
    table = torch.stack([torch.zeros_like(star), star])
    made = resolver(pipeline, networks, [{"text": [[{"table": "boundary", "row": 1}, 1.0]]}], boundary=table)
    expected = states_of(pipeline, networks, "a photo of a star")
    torch.testing.assert_close(made.texts([0], [0])[0], expected, rtol=1e-4, atol=1e-5)


def test_pure_noise_is_the_seeds(pipeline, networks):
    made = resolver(pipeline, networks, [{"text": [["a star", 1.0]]}])
    assert torch.equal(made.starts([0, 0], [5, 6]), gaussian_noise([5, 6], SHAPE))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_start_has_the_noise_that_its_solver_begins_with(pipeline, networks, solver):
    recipe = Recipe("test", solver, 4, Guidance(1.0, 0.0, 1.0))
    conditions = [{"text": [["a star", 1.0]], "start": [["b", 1.0]], "start_t": 500}]
    brush = brush_for(pipeline, networks, recipe, conditions, Sources("a photo of a {}", {}, images), 8, 32, 4)
    latents = networks.encode(to_signed(images().images[1:2], 32))
    rest = brush.starts([0], [5]) - brush.schedule.sigma[0] * gaussian_noise([5], SHAPE)
    torch.testing.assert_close(rest, brush.schedule.alpha[0] * latents, atol=1e-4, rtol=1e-4)


def test_a_start_is_the_images_latents_under_noise(pipeline, networks):
    text = [["", 1.0]]
    conditions = [{"text": text, "start": [["b", 1.0]]}, {"text": text, "start": [["a", 0.25], ["c", 0.75]]}]
    found = resolver(pipeline, networks, conditions).starts([0, 1], [5, 6])
    a, b, c = networks.encode(to_signed(images().images, 32))
    noise = gaussian_noise([5, 6], SHAPE)
    torch.testing.assert_close(found[0], 0.6 * b + 0.8 * noise[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], 0.6 * (0.25 * a + 0.75 * c) + 0.8 * noise[1], rtol=1e-4, atol=1e-4)


def test_seeds_grow_from_all_that_is_painted_from():
    plain = {"text": [["a star", 1.0]]}
    others = [
        plain | {"text_noise": 0.3},
        plain | {"start": [["a", 1.0]]},
        {"text": [["a star", 0.5], ["a wave", 0.5]]},
        {"text": [[{"table": "boundary", "row": 3}, 1.0]]},
    ]
    assert painted_from(plain) == "a star", "as before there were other strategies"
    assert len({painted_from(condition) for condition in (plain, *others)}) == 5
    assert [prompt_of(condition) for condition in others[2:]] == ["a star x 0.5 + a wave x 0.5", "boundary#3"]
