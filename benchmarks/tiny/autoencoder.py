"""The VAE: L1 + L2 + edges, with a light pull of the posterior to a unit Gaussian."""

import torch
from bank import vary
from diffusers import AutoencoderKL
from loop import optimise
from settings import AUTOENCODER, SEED, TRAINING


def _edges(images: torch.Tensor) -> torch.Tensor:
    return torch.cat([images.diff(dim=3).flatten(1), images.diff(dim=2).flatten(1)], dim=1)


def train_autoencoder(images: torch.Tensor) -> AutoencoderKL:
    """Train on uint8 (n, 3, H, W); ``scaling_factor`` is set so that scaled latents have unit variance."""
    setting = TRAINING["autoencoder"]
    generator = torch.Generator().manual_seed(SEED)
    vae = AutoencoderKL(**AUTOENCODER).to(memory_format=torch.channels_last)
    # A posterior of unit width drowns the untrained means.
    torch.nn.init.constant_(vae.quant_conv.bias[AUTOENCODER["latent_channels"] :], setting["first_logvar"])

    def loss_of_step(step: int) -> torch.Tensor:
        rows = torch.randint(len(images), (setting["batch"],), generator=generator)
        batch = vary(images[rows], generator).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(batch).latent_dist
            decoded = vae.decode(posterior.sample(generator)).sample
        decoded, mean, logvar = decoded.float(), posterior.mean.float(), posterior.logvar.float()
        error = decoded - batch
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        edges = (_edges(decoded) - _edges(batch)).abs().mean()
        return error.abs().mean() + error.square().mean() + edges + setting["kl_weight"] * kl

    optimise("autoencoder", vae.parameters(), loss_of_step, setting["steps"], setting["lr"])
    vae.eval().register_to_config(scaling_factor=1 / encode(vae, images[::50]).std().item())
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, images: torch.Tensor, batch: int = 256) -> torch.Tensor:
    """Posterior means, unscaled: float32 (n, channels, h, w)."""
    parts = []
    for chunk in images.split(batch):
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(vae.encode(chunk.float() / 127.5 - 1).latent_dist.mode().float())
    return torch.cat(parts)
