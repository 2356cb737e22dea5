"""The safety checker as a reason to paint an image again."""

from __future__ import annotations

import torch

from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.safety import unsafe
from dogfast.synthesis.id_check import Check

UNSAFE = "unsafe"


def safety_check(pipeline: Pipeline, device: str) -> Check:
    """What the checker of --safety-checker refuses; it runs in torch, in fp32 on ``device``."""
    checker, pixels = pipeline.safety_checker.to(device), pipeline.safety_pixels

    def check(images: torch.Tensor, rows: list[int]) -> torch.Tensor:
        return unsafe(checker, pixels.prepared(images))

    return check
