"""The noise predictor: epsilon loss (DOG Eq. 3) on cached latents, min-SNR weighting, text dropped at random, EMA weights."""

from copy import deepcopy

import torch
from clip import tokens_of
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from loop import optimise
from settings import SCHEDULER, SEED, TEMPLATES, TRAINING, UNET, UNET_PHASES, WORDS
from transformers import CLIPTextModel, CLIPTokenizer


def alphas_cumprod() -> torch.Tensor:
    """Signal variance at each of the training timesteps: float32 (T,)."""
    s = SCHEDULER
    betas = torch.linspace(s["beta_start"] ** 0.5, s["beta_end"] ** 0.5, s["num_train_timesteps"]) ** 2
    return (1 - betas).cumprod(0)


@torch.no_grad()
def prompt_table(text: CLIPTextModel, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """Token sequences of every (word, template) and, last, of the empty prompt: float (words * templates + 1, tokens, width)."""
    prompts = [t.format(w) for w in WORDS for t in TEMPLATES] + [""]
    return text(tokens_of(tokenizer, prompts)).last_hidden_state


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(**UNET)


def train_unet(
    start: UNet2DConditionModel, phase: int, latents: torch.Tensor, labels: torch.Tensor, prompts: torch.Tensor
) -> UNet2DConditionModel:
    """Train ``start`` through one of `UNET_PHASES` on scaled latents (n, channels, h, w) with word indices (n,); returns the EMA weights."""
    setting = TRAINING["unet"] | UNET_PHASES[phase]
    generator = torch.Generator().manual_seed(SEED + phase)
    unet = start.train().to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # in bf16 on CPUs a fifth faster than fused attention, backward included
    average = deepcopy(unet).requires_grad_(False).eval()
    signal = alphas_cumprod()
    weight = (setting["min_snr"] / (signal / (1 - signal))).clamp(max=1.0) if setting["min_snr"] else torch.ones_like(signal)
    batch = setting["batch"]

    def loss_of_step(step: int) -> torch.Tensor:
        rows = torch.randint(len(latents), (batch,), generator=generator)
        timesteps = torch.randint(len(signal), (batch,), generator=generator)
        template = torch.randint(len(TEMPLATES), (batch,), generator=generator)
        dropped = torch.rand(batch, generator=generator) < setting["drop_text"]
        prompt = torch.where(dropped, len(prompts) - 1, labels[rows] * len(TEMPLATES) + template)
        clean, noise = latents[rows], torch.randn(batch, *latents.shape[1:], generator=generator)
        a = signal[timesteps, None, None, None]
        noisy = (a.sqrt() * clean + (1 - a).sqrt() * noise).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = unet(noisy, timesteps, prompts[prompt]).sample
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        return (weight[timesteps] * error).mean()

    @torch.no_grad()
    def after_step(step: int) -> None:
        decay = min(setting["ema"], (1 + step) / (10 + step))
        for kept, new in zip(average.parameters(), unet.parameters()):
            kept.lerp_(new, 1 - decay)

    optimise(f"unet phase {phase}", unet.parameters(), loss_of_step, setting["steps"], setting["lr"], after_step)
    return average
