"""DeepCache: both passes against the UNet itself, what is kept of it, and when it is computed whole."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from dogfast.config.model import ModelConfig
from dogfast.diffusion.deepcache import feature_channels, outermost, reusing, shallow_pass, whole_pass
from dogfast.diffusion.guidance import Guidance, guided
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.random_weights import UNET as SD15

ROWS, TOKENS = 3, 5
PLAIN = {"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")}
FOUR = {
    "block_out_channels": (8, 16, 24, 24),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
SHAPES = {
    "one layer": {},
    "two layers": {"layers_per_block": 2},
    "three layers": {"layers_per_block": 3},
    "other layers in other blocks": {"layers_per_block": (2, 1)},
    "without attention": PLAIN,
    "four blocks": FOUR | {"layers_per_block": 2},
    "one block": {"block_out_channels": (16,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)},
    "without a middle": {"mid_block_type": None},
}


def unet_of(**changes):
    config = {
        "sample_size": 8,
        "block_out_channels": (16, 24),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 12,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DConditionModel(**config | changes).eval().requires_grad_(False)


def inputs_of(unet, side=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(ROWS, unet.config.in_channels, side, side, generator=generator)
    states = torch.randn(ROWS, TOKENS, unet.config.cross_attention_dim, generator=generator)
    return latents, torch.tensor([999.0, 500.0, 1.0]), states


# --- the passes -------------------------------------------------------------------------------------------------
def assert_both_passes_are_the_unet(unet, side):
    inputs = inputs_of(unet, side)
    noise, feature = whole_pass(unet, *inputs)
    assert torch.equal(noise, unet(*inputs).sample)
    assert torch.equal(shallow_pass(unet, *inputs, feature), noise)
    assert torch.equal(shallow_pass(outermost(unet), *inputs, feature), noise)
    assert feature.shape == (ROWS, feature_channels(dict(unet.config)), side, side)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_passes_say_bit_for_bit_what_the_unet_says(shape):
    assert_both_passes_are_the_unet(unet_of(**SHAPES[shape]), 8)


def test_a_side_that_does_not_halve_evenly():
    assert_both_passes_are_the_unet(unet_of(**FOUR), 9)


def test_the_embedded_generator_too():
    pipeline = Pipeline(ModelConfig(), "tiny")
    assert_both_passes_are_the_unet(pipeline.unet, 8)
    assert pipeline.feature_channels == 160


def test_an_old_feature_stands_for_the_inner_layers_alone():
    unet = unet_of(layers_per_block=2)
    latents, timesteps, states = inputs_of(unet)
    noise, feature = whole_pass(unet, latents, timesteps, states)
    _, other = whole_pass(unet, *inputs_of(unet, seed=1))
    for changed in (
        shallow_pass(unet, latents, timesteps, states, other),
        shallow_pass(unet, latents + 1, timesteps, states, feature),
        shallow_pass(unet, latents, timesteps - 1, states, feature),
        shallow_pass(unet, latents, timesteps, states + 1, feature),
    ):
        assert not torch.allclose(changed, noise, atol=1e-5)


def test_the_outermost_layers_share_their_weights_and_no_others_are_kept():
    unet = unet_of(layers_per_block=2)
    down, up = unet.down_blocks[0], unet.up_blocks[-1]
    wanted = [unet.time_embedding, unet.conv_in, down.resnets[0], down.attentions[0], *up.resnets[1:], *up.attentions[1:]]
    wanted += [unet.conv_norm_out, unet.conv_out]
    assert {id(weight) for weight in outermost(unet).parameters()} == {id(w) for part in wanted for w in part.parameters()}


@pytest.mark.slow
def test_at_the_size_of_stable_diffusion_most_of_the_work_is_left_out():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15).eval()
        inputs = torch.empty(1, 4, 32, 32), torch.empty(1), torch.empty(1, 77, 768)
        work = {}
        for name, network in (("unet", unet), ("whole", lambda *given: whole_pass(unet, *given))):
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                said = network(*inputs)
            work[name] = counter.get_total_flops()
        feature = said[1]
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            shallow_pass(unet, *inputs, feature)
    assert feature.shape == (1, feature_channels(SD15), 32, 32) == (1, 320, 32, 32)
    assert work["whole"] == work["unet"] and counter.get_total_flops() / work["unet"] == pytest.approx(0.184, abs=0.001)


@pytest.mark.parametrize(
    "change",
    [
        {"down_block_types": ("AttnDownBlock2D", "DownBlock2D")},
        {"up_block_types": ("UpBlock2D", "SimpleCrossAttnUpBlock2D")},
        {"center_input_sample": True},
        {"time_embedding_act_fn": "silu"},
        {"encoder_hid_dim": 8},
    ],
    ids=str,
)
def test_a_unet_of_another_kind_has_no_feature(change):
    assert feature_channels(dict(unet_of().config)) == 24
    assert feature_channels(dict(unet_of().config) | change) == 0


# --- when it is computed whole ----------------------------------------------------------------------------------
def counting():
    """A whole and a shallow network that tell what they were asked; the feature is the row's number in its call, and the call's."""
    asked = []

    def deep(latents, timesteps, text):
        asked.append(("deep", len(latents)))
        rows = torch.arange(len(latents), dtype=torch.float32)
        return latents, (100 * len(asked) + rows)[:, None, None, None]

    def shallow(latents, timesteps, text, feature):
        asked.append(("shallow", feature.flatten().tolist()))
        assert len(latents) == len(feature)
        return latents

    return asked, deep, shallow


def calls_of(every, rows):
    asked, deep, shallow = counting()
    denoise = reusing(deep, shallow, every)
    for count in rows:
        denoise(torch.zeros(count, 1, 1, 1), torch.zeros(count), torch.zeros(count, 1, 1))
    return asked


@pytest.mark.parametrize("every", [2, 3, 5, 100])
def test_it_is_whole_at_every_so_many_calls(every):
    assert [what for what, _ in calls_of(every, [2] * 20)] == ["shallow" if call % every else "deep" for call in range(20)]


def test_the_conditional_half_goes_on_where_guidance_ends():
    assert calls_of(4, [4, 4, 2, 2]) == [
        ("deep", 4), ("shallow", [100, 101, 102, 103]), ("shallow", [102, 103]), ("shallow", [102, 103]),
    ]  # fmt: skip


def test_new_rows_have_no_feature_yet():
    assert [what for what, _ in calls_of(4, [2, 2, 4, 4, 4, 4])] == ["deep", "shallow", "deep", "shallow", "deep", "shallow"]
    assert [what for what, _ in calls_of(4, [4, 2, 4, 4])] == ["deep", "shallow", "deep", "shallow"]


@pytest.mark.parametrize("stop, rows", [(0.5, [4] * 5 + [2] * 5), (0.3, [4] * 3 + [2] * 7), (1.0, [4] * 10)])
def test_every_row_is_given_its_own_feature_under_guidance(stop, rows):
    """What the networks say is told by the prompts of whole calls: with its own feature a row is as if all calls were whole."""
    text, empty = torch.tensor([1.0, 2.0])[:, None, None], torch.tensor([[[7.0]]])
    seen = []

    def deep(latents, timesteps, states):
        seen.append(("deep", len(latents)))
        return states[:, :, :, None].expand_as(latents), states[:, :, :, None]

    def shallow(latents, timesteps, states, feature):
        seen.append(("shallow", len(latents)))
        return feature.expand_as(latents)

    guidance, latents = Guidance(4.0, 0.0, stop), torch.zeros(2, 1, 2, 2)
    cached = guided(reusing(deep, shallow, 2), text, empty, guidance, 10)
    plain = guided(lambda *given: deep(*given)[0], text, empty, guidance, 10)
    found = [cached(latents, 0, step) for step in range(10)]
    assert seen == [("shallow" if step % 2 else "deep", count) for step, count in enumerate(rows)]
    assert all(torch.equal(found[step], plain(latents, 0, step)) for step in range(10))
