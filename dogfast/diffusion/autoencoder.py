"""Images to scaled latents and back. Images are float in [-1, 1], (n, 3, H, W); latents (n, 4, h, w) have unit variance."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def to_signed(images: torch.Tensor, side_px: int) -> torch.Tensor:
    """uint8 (n, 3, H, W) to float in [-1, 1] at ``side_px`` (antialiased bicubic where the size differs)."""
    return resize(images.float() / 127.5 - 1, side_px).clamp(-1, 1)


def to_bytes(images: torch.Tensor, side_px: int) -> torch.Tensor:
    """Float in [-1, 1] to uint8 at ``side_px``, on the device they are on; non-finite pixels become 0."""
    images = resize(images.float(), side_px).nan_to_num(nan=-1.0, posinf=-1.0, neginf=-1.0)
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def resize(images: torch.Tensor, side_px: int) -> torch.Tensor:
    if images.shape[-2:] == (side_px, side_px):
        return images
    return F.interpolate(images, (side_px, side_px), mode="bicubic", antialias=True)


def encode_images(vae: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Scaled posterior means of images in [-1, 1]."""
    return vae.encode(images).latent_dist.mode() * vae.config.scaling_factor


def decode_latents(vae: torch.nn.Module, latents: torch.Tensor) -> torch.Tensor:
    """Images (about [-1, 1]) of scaled latents."""
    return vae.decode(latents / vae.config.scaling_factor).sample
