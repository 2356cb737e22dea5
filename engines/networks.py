"""The networks of a generator as plain callables on tensors: all that the stages ever see of a backend.

R rows, L tokens, D text width, P projected width, h x w latent positions, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Tensor = torch.Tensor


@dataclass(frozen=True)
class Networks:
    """``encode_text``: ids int64 (R, L) to token states (R, L, D) and projected state (R, P), float32.
    ``encode_image``: uint8 (R, 3, H, W) to projected (R, P), float32.
    ``encode``: images in [-1, 1], (R, 3, H, W), to scaled latents (R, 4, h, w), float32.
    ``denoise``: latents (R, 4, h, w), timesteps (R,), token states (R, L, D) to predicted noise, float32.
    ``denoise_deep``: the same to noise and DeepCache's feature (R, F, h, w), float32.
    ``denoise_shallow``: the same with a feature to noise, by the outermost layers alone.
    ``decode``: scaled latents to images in [-1, 1], (R, 3, H, W), float32.
    ``decode_tiny``: the same by the tiny decoder.
    """

    encode_text: Callable[[Tensor], tuple[Tensor, Tensor]]
    encode_image: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor]
    denoise_deep: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    denoise_shallow: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    decode_tiny: Callable[[Tensor], Tensor]
    backend: str
    device: str
    precision: str
