"""The decoder once more, against a critic of patches: what L1 leaves smooth, photographs are not (Esser et al. 2021, Eqs. 6 and 7).

The encoder stays, and so do the latents that a UNet has learned.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import AutoencoderKL
from recipe.autoencoder import edges
from recipe.bank import Bank, to_signed
from recipe.loop import Loop
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


def sharpen(loop: Loop, vae: AutoencoderKL, bank: Bank, latents: Tensor, setting: Mapping[str, Any]) -> AutoencoderKL:
    """``vae`` with its decoder trained on ``latents``, scaled posterior means (2, n, channels, h, w) of images and their mirror images.

    ``setting``: steps, batch, lr, width of the critic, weight of its say, ema, jitter: of the latents, by as much as a UNet may miss.
    """
    torch.manual_seed(loop.seed)
    vae.encoder.requires_grad_(False)
    critic = _critic(setting["width"]).to(loop.device, memory_format=torch.channels_last)
    last = vae.decoder.conv_out.weight

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        rows = bank.draw(setting["batch"], generator)
        mirror = torch.rand(len(rows), generator=generator, device=rows.device) < 0.5
        images = to_signed(bank.images[rows])
        images = torch.where(mirror[:, None, None, None], images.flip(3), images).contiguous(memory_format=torch.channels_last)
        means = latents[mirror.long(), rows].float()
        noise = torch.randn(means.shape, generator=generator, device=means.device) * setting["jitter"]
        with loop.autocast():
            decoded = vae.decode((means + noise) / vae.config.scaling_factor).sample.float()
            critic.requires_grad_(False)
            praise = -critic(decoded).float().mean()
            critic.requires_grad_(True)
            false, true = critic(decoded.detach()).float(), critic(images).float()
        error = (decoded - images).abs().mean() + (edges(decoded) - edges(images)).abs().mean()
        share = setting["weight"] * _norm(error, last) / (_norm(praise, last) + 1e-6)
        return error + share * praise + F.relu(1 + false).mean() + F.relu(1 - true).mean()

    modules = {"vae": vae, "critic": critic}
    return loop.optimise("decoder", modules, loss_of_step, setting["steps"], setting["lr"], setting["ema"])["vae"]


def _norm(loss: Tensor, weight: Tensor) -> Tensor:
    return torch.autograd.grad(loss, weight, retain_graph=True)[0].norm()


def _critic(width: int) -> nn.Sequential:
    """A judgement a patch: (n, 3, H, W) to (n, 1, H/4, W/4), each of 22 px."""
    sizes = ((3, width, 3, 1), (width, 2 * width, 4, 2), (2 * width, 4 * width, 4, 2), (4 * width, 4 * width, 3, 1))
    layers: list[nn.Module] = []
    for inner, outer, kernel, stride in sizes:
        layers += [spectral_norm(nn.Conv2d(inner, outer, kernel, stride, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(4 * width, 1, 1)))
