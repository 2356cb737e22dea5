"""What every training of a generator stands on: a loop that goes on where it was stopped, and what is drawn."""

import time

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from recipe.autoencoder import edges
from recipe.bank import Bank
from recipe.clip import seen_by
from recipe.denoiser import train_denoiser
from recipe.loop import Loop, Stopped
from recipe.prompts import Prompts
from recipe.sharpen import sharpen
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.conftest import AUTOENCODER, UNET, VISION

STEPS = 40


def learn(folder, ends_at=float("inf"), stop_at=None):
    """A regression of some steps with averaged weights; ``stop_at``: the step in which the time is suddenly over."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    seen = []

    def loss_of_step(step, generator):
        if step == stop_at:
            object.__setattr__(loop, "ends_at", 0.0)
        seen.append(step)
        given = torch.randn(16, 4, generator=generator)
        return (model(given) - given.sum(1, keepdim=True)).square().mean()

    loop = Loop(folder, ends_at=ends_at)
    found = loop.optimise("line", {"model": model}, loss_of_step, STEPS, 1e-2, ema=0.9)["model"]
    return found.state_dict(), seen


def test_a_training_that_was_stopped_ends_as_if_it_never_was(tmp_path):
    whole, _ = learn(tmp_path / "whole")
    with pytest.raises(Stopped, match="line stands at step 18 of 40"):
        learn(tmp_path / "parts", stop_at=17)
    parts, seen = learn(tmp_path / "parts")
    assert seen == list(range(18, STEPS))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_it_learns_and_does_nothing_again(tmp_path):
    _, seen = learn(tmp_path)
    assert seen == list(range(STEPS))
    assert learn(tmp_path)[1] == []


def test_time_that_is_over_leaves_one_step_more(tmp_path):
    for step in range(1, 4):
        with pytest.raises(Stopped, match=f"step {step} of"):
            learn(tmp_path, ends_at=time.monotonic() - 1)


def test_images_are_drawn_by_their_chances():
    bank = Bank(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.arange(4), torch.tensor([1.0, 0.0, 0.0, 3.0]))
    rows = bank.draw(4000, torch.Generator().manual_seed(0))
    assert set(rows.tolist()) == {0, 3} and abs((rows == 3).float().mean() - 0.75) < 0.03


def test_a_prompt_is_one_of_its_concepts():
    prompts = Prompts(torch.zeros(7, 5, dtype=torch.long), torch.tensor([0, 1, 4]), torch.tensor([1, 3, 2]))
    wanted = torch.tensor([0, 1, 2]).repeat(500)
    rows = prompts.draw(wanted, torch.Generator().manual_seed(0))
    for concept, those in enumerate(({0}, {1, 2, 3}, {4, 5})):
        assert set(rows[wanted == concept].tolist()) == those
    assert prompts.empty == 6


# --- the middle of the UNet sees what CLIP sees -----------------------------------------------------------------
def test_what_clip_sees_is_pooled_place_by_place():
    torch.manual_seed(0)
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)).eval()
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    every, pooled = (seen_by(Loop(None), vision, images, side, batch=2).float() for side in (4, 2))
    assert every.shape == (3, 16, 32) and pooled.shape == (3, 4, 32)
    quarters = every.view(3, 2, 2, 2, 2, 32).mean((2, 4)).view(3, 4, 32)
    assert torch.allclose(pooled, quarters, atol=2e-3)


def test_the_middle_learns_to_see_it(tmp_path):
    """Tokens that tell which of two images was noised: with their weight the middle comes to tell it, without it does not."""
    bank = Bank(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 0]), torch.ones(2))
    prompts = Prompts(torch.zeros(2, 5, dtype=torch.long), torch.tensor([0]), torch.tensor([1]))
    generator = torch.Generator().manual_seed(0)
    latents, states = torch.randn(1, 2, 4, 8, 8, generator=generator), torch.randn(2, 5, 32, generator=generator)
    sight = F.normalize(torch.randn(1, 2, 16, 24, generator=generator), dim=3)
    setting = {"steps": 60, "batch": 8, "lr": 3e-3, "ema": 0.5, "drop_text": 0.1, "min_snr": 5.0}

    def apart(folder, weight):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(**UNET)
        found = train_denoiser(Loop(folder), "unet", unet, bank, latents, prompts, states, setting | {"align": weight}, sight)
        kept = torch.load(folder / "unet.pt", weights_only=True)["averages"]["projector"]
        seen = {}
        found.mid_block.register_forward_hook(lambda block, given, middle: seen.update(middle=middle))
        with torch.no_grad():
            found(latents[0], torch.tensor([1, 1]), states[:1].expand(2, -1, -1))
            middle = seen["middle"].flatten(2).transpose(1, 2)
            for layer in range(0, 5, 2):
                middle = F.linear(middle, kept[f"{layer}.weight"], kept[f"{layer}.bias"])
                middle = F.silu(middle) if layer < 4 else middle
        return F.cosine_similarity(middle, sight[0], dim=2).mean().item()

    assert apart(tmp_path / "with", 1.0) > 0.6 > 0.3 > abs(apart(tmp_path / "without", 0.0))


def test_a_critic_makes_what_is_decoded_as_rough_as_the_images_are(tmp_path):
    """Of grain that no latent tells of, L1 leaves nothing; the encoder stays what it was."""
    generator = torch.Generator().manual_seed(0)
    grain = torch.randint(0, 2, (64, 1, 32, 32), generator=generator).expand(-1, 3, -1, -1) * 160 + 40
    bank = Bank(grain.to(torch.uint8), torch.zeros(64, dtype=torch.long), torch.ones(64))
    latents = torch.zeros(2, 64, 4, 8, 8)
    setting = {"steps": 40, "batch": 8, "lr": 3e-3, "width": 8, "ema": 0.5, "jitter": 0.5}

    def roughness(folder, weight):
        torch.manual_seed(0)
        vae = AutoencoderKL(**AUTOENCODER)
        before = {name: value.clone() for name, value in vae.encoder.state_dict().items()}
        found = sharpen(Loop(folder), vae, bank, latents, setting | {"weight": weight})
        assert all(torch.equal(value, before[name]) for name, value in found.encoder.state_dict().items())
        with torch.no_grad():
            return edges(found.decode(torch.randn(8, 4, 8, 8, generator=generator) * 0.5).sample).abs().mean().item()

    assert roughness(tmp_path / "with", 2.0) > 2 * roughness(tmp_path / "without", 0.0)
