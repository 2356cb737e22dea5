"""The VAE: L1 + L2 + edges, with a light pull of the posterior to a unit Gaussian."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL
from recipe.bank import Bank, to_signed
from recipe.loop import Loop
from torch import Tensor

Vary = Callable[[Tensor, torch.Generator], Tensor]
"""uint8 (n, 3, H, W) to float in [-1, 1], changed by chance."""


def train_autoencoder(
    loop: Loop, bank: Bank, vary: Vary, network: Mapping[str, Any], setting: Mapping[str, Any]
) -> AutoencoderKL:
    """Train on ``bank``; ``scaling_factor`` is set so that scaled latents have unit variance.

    ``setting``: steps, batch, lr, kl_weight, first_logvar.
    """
    torch.manual_seed(loop.seed)
    vae = AutoencoderKL(**network).to(loop.device, memory_format=torch.channels_last)
    # A posterior of unit width drowns the untrained means.
    torch.nn.init.constant_(vae.quant_conv.bias[network["latent_channels"] :], setting["first_logvar"])
    look, paint = (
        loop.compiled(lambda batch: vae.encode(batch).latent_dist),
        loop.compiled(lambda latents: vae.decode(latents).sample),
    )

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        rows = bank.draw(setting["batch"], generator)
        batch = vary(bank.images[rows], generator).to(memory_format=torch.channels_last)
        with loop.autocast():
            posterior = look(batch)
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            noise = torch.randn(mean.shape, generator=generator, device=mean.device)
            decoded = paint(mean + (logvar / 2).exp() * noise).float()
        error = decoded - batch
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        blur = (edges(decoded) - edges(batch)).abs().mean()
        return error.abs().mean() + error.square().mean() + blur + setting["kl_weight"] * kl

    vae = loop.optimise("autoencoder", {"vae": vae}, loss_of_step, setting["steps"], setting["lr"])["vae"]
    some = bank.images[:: max(1, len(bank) // 2000)]
    vae.register_to_config(scaling_factor=1 / encode(loop, vae, some).std().item())
    return vae


def edges(images: Tensor) -> Tensor:
    """Differences of neighbours, across and down: (n, k) of (n, c, H, W)."""
    return torch.cat([images.diff(dim=3).flatten(1), images.diff(dim=2).flatten(1)], dim=1)


@torch.no_grad()
def encode(loop: Loop, vae: AutoencoderKL, images: Tensor, batch: int = 256) -> Tensor:
    """Posterior means of uint8 (n, 3, H, W), unscaled: float32 (n, channels, h, w)."""
    parts = []
    for chunk in images.split(batch):
        with loop.autocast():
            parts.append(vae.encode(to_signed(chunk)).latent_dist.mode().float())
    return torch.cat(parts)
