"""Stable Diffusion v1.5 with random weights: its published sizes, without its knowledge. For speed and export work."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch

from dogfast.diffusion.deepcache import feature_channels
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.pixels import Pixels

UNET = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
}
VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "projection_dim": 768,
    "patch_size": 14,
    "image_size": 224,
    "hidden_act": "quick_gelu",
}
PIXELS = Pixels(224, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""CLIP ViT-L/14's."""
SEED = 0


class RandomPipeline(Pipeline):
    """The networks of `Pipeline` without files: the same weights in every process, a network at a time."""

    def __init__(self) -> None:
        self.name = self.place = self.clip = self.small = "sd15 --random-weights"

    native_px, downscale, latent_channels = UNET["sample_size"] * 8, 8, VAE["latent_channels"]
    feature_channels = feature_channels(UNET)
    width, tokens, start_id, end_id = TEXT["hidden_size"], TEXT["max_position_embeddings"], 49406, 49407
    revision, pixels, has_tiny_decoder = f"random-{SEED}", PIXELS, True

    def weights(self, part: str) -> str:
        return f"{self.revision}-{torch.__version__}"

    @cached_property
    def unet(self) -> torch.nn.Module:
        from diffusers import UNet2DConditionModel

        return _random(UNet2DConditionModel, UNET)

    @cached_property
    def vae(self) -> torch.nn.Module:
        from diffusers import AutoencoderKL

        return _random(AutoencoderKL, VAE)

    @cached_property
    def tiny_decoder(self) -> torch.nn.Module:
        from diffusers import AutoencoderTiny

        return _random(AutoencoderTiny, {})

    @cached_property
    def text_encoder(self) -> torch.nn.Module:
        from transformers import CLIPTextConfig, CLIPTextModel

        return _random(lambda: CLIPTextModel(CLIPTextConfig(**TEXT)), {})

    @cached_property
    def image_encoder(self) -> torch.nn.Module:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        return _random(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)), {})

    @cached_property
    def text_projection(self) -> torch.Tensor:
        generator = torch.Generator().manual_seed(SEED)
        return torch.randn(TEXT["projection_dim"], TEXT["hidden_size"], generator=generator) * TEXT["hidden_size"] ** -0.5


def _random(make: Callable[..., torch.nn.Module], config: dict[str, Any]) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return make(**config).requires_grad_(False).eval()
