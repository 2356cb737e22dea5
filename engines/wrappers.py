"""The networks as exported: plain modules with the inputs and outputs that `table.NETWORKS` names, in that order."""

from __future__ import annotations

import torch
from torch import nn

from dogfast.diffusion.autoencoder import decode_latents, encode_images
from dogfast.diffusion.deepcache import outermost, shallow_pass, whole_pass
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import encode_prompts

Tensor = torch.Tensor


class TextEncoder(nn.Module):
    """Token ids to token states, and to the projected state at the first end token."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.encoder, self.end_id = pipeline.text_encoder, pipeline.end_id
        self.register_buffer("projection", pipeline.text_projection)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return encode_prompts(self.encoder, self.projection, ids, self.end_id)


class ImageEncoder(nn.Module):
    """Pixels of zero mean and unit deviation to projected embeddings."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.encoder = pipeline.image_encoder

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        return (self.encoder(pixels).image_embeds,)


class Unet(nn.Module):
    """Noisy latents, a timestep a row, and token states to predicted noise."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.unet = pipeline.unet

    def forward(self, latents: Tensor, timesteps: Tensor, states: Tensor) -> tuple[Tensor]:
        return self.unet(latents, timesteps, states, return_dict=False)


class UnetDeep(nn.Module):
    """As `Unet`, and the feature that `UnetShallow` takes."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.unet = pipeline.unet

    def forward(self, latents: Tensor, timesteps: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        return whole_pass(self.unet, latents, timesteps, states)


class UnetShallow(nn.Module):
    """The outermost layers of `Unet`, with the feature of an earlier call in the place of the others."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.unet = outermost(pipeline.unet)

    def forward(self, latents: Tensor, timesteps: Tensor, states: Tensor, feature: Tensor) -> tuple[Tensor]:
        return (shallow_pass(self.unet, latents, timesteps, states, feature),)


class VaeEncoder(nn.Module):
    """Images in [-1, 1] to scaled latents."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.vae = pipeline.vae

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (encode_images(self.vae, images),)


class VaeDecoder(nn.Module):
    """Scaled latents to images, about [-1, 1]."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.vae = pipeline.vae

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        return (decode_latents(self.vae, latents),)


class TinyDecoder(nn.Module):
    """Scaled latents to images, about [-1, 1], by the small decoder (TAESD)."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.decoder = pipeline.tiny_decoder

    def forward(self, latents: Tensor) -> tuple[Tensor]:
        return self.decoder.decode(latents, return_dict=False)


WRAPPERS = {
    "text_encoder": TextEncoder,
    "image_encoder": ImageEncoder,
    "unet": Unet,
    "unet_deep": UnetDeep,
    "unet_shallow": UnetShallow,
    "vae_encoder": VaeEncoder,
    "vae_decoder": VaeDecoder,
    "tiny_decoder": TinyDecoder,
}


def wrap(pipeline: Pipeline, name: str) -> nn.Module:
    """The network ``name`` of ``pipeline`` as exported: fp32 on the CPU, in eval mode, sharing the pipeline's weights."""
    return WRAPPERS[name](pipeline).eval()
