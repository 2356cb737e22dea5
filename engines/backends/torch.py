"""The torch backend: eager networks in the chosen arithmetic, channels_last; the reference for every other backend."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import torch

from dogfast.diffusion.autoencoder import decode_latents, resize
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import encode_prompts
from dogfast.engines.networks import Networks

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def open_networks(pipeline: Pipeline, device: str, precision: str) -> Networks:
    """Networks of ``pipeline`` on ``device``; each is cast and moved when it is first called.

    The text and image towers stay in fp32: they are cheap, and anchors hang on small differences of cosines. In fp16 the
    VAE stays in fp32 too, whose activations overflow it.
    """
    dtype = DTYPES[precision]

    @cache
    def placed(name: str, dtype: torch.dtype) -> torch.nn.Module:
        network = deepcopy(getattr(pipeline, name)).to(device, dtype)
        return network.to(memory_format=torch.channels_last) if name in ("unet", "vae") else network

    @torch.inference_mode()
    def encode_text(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = placed("text_encoder", torch.float32)
        return encode_prompts(encoder, pipeline.text_projection, ids.to(device), pipeline.tokenizer.eos_token_id)

    @torch.inference_mode()
    def encode_image(images: torch.Tensor) -> torch.Tensor:
        pixels = pipeline.pixels
        unit = resize(images.to(device).float() / 255, pixels.side_px).clamp(0, 1)
        mean, std = (torch.tensor(value, device=device)[:, None, None] for value in (pixels.mean, pixels.std))
        return placed("image_encoder", torch.float32)((unit - mean) / std).image_embeds

    @torch.inference_mode()
    def denoise(latents: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        latents = latents.to(device, dtype).to(memory_format=torch.channels_last)
        return placed("unet", dtype)(latents, timesteps.to(device), text.to(device, dtype)).sample.float()

    @torch.inference_mode()
    def decode(latents: torch.Tensor) -> torch.Tensor:
        kind = torch.float32 if precision == "fp16" else dtype
        return decode_latents(placed("vae", kind), latents.to(device, kind)).float()

    return Networks(encode_text, encode_image, denoise, decode, "torch", device, precision)
