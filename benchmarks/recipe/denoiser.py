"""The noise predictor: epsilon loss (DOG Eq. 3) on cached latents, min-SNR weighting, text dropped at random, EMA weights."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from recipe.bank import Bank
from recipe.loop import Loop
from recipe.prompts import Prompts
from torch import Tensor
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
    setting: Mapping[str, Any],
) -> UNet2DConditionModel:  # fmt: skip
    """Train ``start`` on scaled ``latents`` (v, n, channels, h, w), v versions of every image of ``bank``; the averaged weights.

    ``states``: what the text tower says of every prompt. ``setting``: steps, batch, lr, ema, drop_text, min_snr or None.
    """
    unet = start.to(loop.device, memory_format=torch.channels_last)
    if loop.bf16 and loop.device == "cpu":
        unet.set_attn_processor(AttnProcessor())  # a fifth faster than fused attention, backward included
    signal = alphas_cumprod().to(loop.device)
    weight = (setting["min_snr"] / (signal / (1 - signal))).clamp(max=1.0) if setting["min_snr"] else torch.ones_like(signal)
    batch, predict = setting["batch"], loop.compiled(unet)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        def below(limit: int) -> Tensor:
            return torch.randint(limit, (batch,), generator=generator, device=loop.device)

        rows, timesteps = bank.draw(batch, generator), below(len(signal))
        prompt = prompts.draw(bank.labels[rows], generator)
        dropped = torch.rand(batch, generator=generator, device=loop.device) < setting["drop_text"]
        prompt = torch.where(dropped, prompts.empty, prompt)
        clean = latents[below(len(latents)), rows].float()
        noise = torch.randn(clean.shape, generator=generator, device=loop.device)
        a = signal[timesteps, None, None, None]
        noisy = (a.sqrt() * clean + (1 - a).sqrt() * noise).to(memory_format=torch.channels_last)
        with loop.autocast():
            predicted = predict(noisy, timesteps, states[prompt]).sample
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        return (weight[timesteps] * error).mean()

    return loop.optimise(name, {"unet": unet}, loss_of_step, setting["steps"], setting["lr"], setting["ema"])["unet"]
