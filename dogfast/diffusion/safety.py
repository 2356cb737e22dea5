"""Stable Diffusion's safety checker: which images show what its publisher does not want shown."""

from __future__ import annotations

import torch
from torch.nn import functional as F

CARE = 0.01
"""How much stricter the checker is where an image comes near one of its special-care concepts."""


@torch.inference_mode()
def unsafe(checker: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Whether each image comes nearer to a concept than the concept's threshold: bool (n,) on the images' device.

    ``checker``: diffusers' `StableDiffusionSafetyChecker`; ``pixels`` float (n, 3, H, W) as its image tower expects them.
    Cosines are compared at three decimals, as the published checker does.
    """
    seen = F.normalize(checker.visual_projection(checker.vision_model(pixels)[1]), dim=1)

    def over(concepts: torch.Tensor, thresholds: torch.Tensor, strictness: torch.Tensor | float) -> torch.Tensor:
        distance = seen @ F.normalize(concepts, dim=1).T - thresholds + strictness
        return (distance.round(decimals=3) > 0).any(1, keepdim=True)

    near = over(checker.special_care_embeds, checker.special_care_embeds_weights, 0.0)
    return over(checker.concept_embeds, checker.concept_embeds_weights, CARE * near)[:, 0]
