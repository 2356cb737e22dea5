"""Classifier-free guidance: what a solver asks for, from a network that knows prompts.

Shapes: latents (R, C, h, w) float32; ``denoise(latents, timesteps (R,), text (R, L, D)) -> eps`` like latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dogfast.diffusion.solvers import Predict

Denoise = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance of strength ``scale``, on the steps whose share of the way lies in [start, stop)."""

    scale: float
    start: float = 0.0
    stop: float = 1.0

    def active(self, step: int, steps: int) -> bool:
        return self.scale != 1.0 and self.start <= step / steps < self.stop


def guided(denoise: Denoise, text: torch.Tensor, empty: torch.Tensor, guidance: Guidance, steps: int) -> Predict:
    """Noise prediction for prompts ``text`` (B, L, D) against ``empty`` (1, L, D) (Ho & Salimans 2022, Eq. 6).

    Guided steps evaluate 2 B rows in one batch, the conditional half last; the others B: the unconditional half is not
    computed.
    """
    both = torch.cat([empty.expand_as(text), text])

    def predict(latents: torch.Tensor, timestep: int, step: int) -> torch.Tensor:
        rows = len(latents)
        if not guidance.active(step, steps):
            return denoise(latents, latents.new_full((rows,), timestep), text)
        eps = denoise(latents.repeat(2, 1, 1, 1), latents.new_full((2 * rows,), timestep), both)
        unconditional, conditional = eps.chunk(2)
        return unconditional + guidance.scale * (conditional - unconditional)

    return predict
