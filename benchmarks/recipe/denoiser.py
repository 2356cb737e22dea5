"""The noise predictor: epsilon loss (DOG Eq. 3) on cached latents, min-SNR weighting, text dropped at random, EMA weights.

Where it is told what an image encoder sees, its middle block learns to see the same of the clean image (REPA, arXiv 2410.06940):
a small network so need not find out by itself what the photographs show.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from recipe.bank import Bank
from recipe.loop import Loop
from recipe.prompts import Prompts
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel

SCHEDULER = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    set_alpha_to_one=False,
    skip_prk_steps=True,
)
"""Stable Diffusion's."""


def alphas_cumprod() -> Tensor:
    """Signal variance at each of the training timesteps: float32 (T,)."""
    s = SCHEDULER
    betas = torch.linspace(s["beta_start"] ** 0.5, s["beta_end"] ** 0.5, s["num_train_timesteps"]) ** 2
    return (1 - betas).cumprod(0)


@torch.no_grad()
def said(text: CLIPTextModel, tokens: Tensor, batch: int = 256) -> tuple[Tensor, Tensor]:
    """What the text tower says of prompts (p, T): float (p, T, width), and pooled (p, width) before the projection."""
    found = [text(chunk) for chunk in tokens.split(batch)]
    return torch.cat([each.last_hidden_state for each in found]), torch.cat([each.pooler_output for each in found])


def train_denoiser(
    loop: Loop, name: str, start: UNet2DConditionModel, bank: Bank, latents: Tensor, prompts: Prompts, states: Tensor,
    setting: Mapping[str, Any], sight: Tensor | None = None,
) -> UNet2DConditionModel:  # fmt: skip
    """Train ``start`` on scaled ``latents`` (v, n, channels, h, w), v versions of every image of ``bank``; the averaged weights.

    ``states``: what the text tower says of every prompt. ``sight``: what an image encoder sees of every version, one token for each
    position of the UNet's middle, (v, n, positions, width). ``setting``: steps, batch, lr, ema, drop_text, min_snr or None, and
    with ``sight`` its weight, align.
    """
    unet = start.to(loop.device, memory_format=torch.channels_last)
    if loop.bf16 and loop.device == "cpu":
        unet.set_attn_processor(AttnProcessor())  # a fifth faster than fused attention, backward included
    signal = alphas_cumprod().to(loop.device)
    weight = (setting["min_snr"] / (signal / (1 - signal))).clamp(max=1.0) if setting["min_snr"] else torch.ones_like(signal)
    batch, predict = setting["batch"], loop.compiled(unet)
    modules, middle = {"unet": unet}, {}
    if sight is not None:
        modules["projector"] = _projector(start.config.block_out_channels[-1], sight.shape[-1]).to(loop.device)
        unet.mid_block.register_forward_hook(lambda block, given, found: middle.update(found=found))

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        def below(limit: int) -> Tensor:
            return torch.randint(limit, (batch,), generator=generator, device=loop.device)

        rows, timesteps = bank.draw(batch, generator), below(len(signal))
        prompt = prompts.draw(bank.labels[rows], generator)
        dropped = torch.rand(batch, generator=generator, device=loop.device) < setting["drop_text"]
        prompt = torch.where(dropped, prompts.empty, prompt)
        version = below(len(latents))
        clean = latents[version, rows].float()
        noise = torch.randn(clean.shape, generator=generator, device=loop.device)
        a = signal[timesteps, None, None, None]
        noisy = (a.sqrt() * clean + (1 - a).sqrt() * noise).to(memory_format=torch.channels_last)
        with loop.autocast():
            predicted = predict(noisy, timesteps, states[prompt]).sample
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        loss = (weight[timesteps] * error).mean()
        if sight is None:
            return loss
        shown = modules["projector"](middle["found"].float().flatten(2).transpose(1, 2))
        return loss - setting["align"] * F.cosine_similarity(shown, sight[version, rows].float(), dim=2).mean()

    return loop.optimise(name, modules, loss_of_step, setting["steps"], setting["lr"], setting["ema"])["unet"]


def _projector(width: int, seen: int) -> nn.Sequential:
    """From the middle of the UNet to what the image encoder sees, position by position."""
    return nn.Sequential(
        nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, seen)
    )
