"""Solvers of the diffusion ODE (DOG Eq. 7), over a callable; they know no network, no prompt and no batch size.

Shapes: latents (R, C, h, w) float32; ``denoise(latents, timesteps (R,), text (R, L, D)) -> eps`` like latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dogfast.diffusion.schedule import Schedule

Denoise = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Predict = Callable[[torch.Tensor, int, int], torch.Tensor]
"""(latents, timestep, step number) to predicted noise."""


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

    Guided steps evaluate 2 B rows in one batch, the others B: the unconditional half is not computed.
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


def dpm_solver_pp_2m(
    predict: Predict, start: torch.Tensor, schedule: Schedule, callback: Callable[[int], None] = lambda step: None
) -> torch.Tensor:
    """DPM-Solver++ (2M), Lu et al. 2022, Algorithm 2: second-order multistep in the clean-image prediction.

    ``start``: standard normal noise, or latents noised to the schedule's first timestep; the first and the last step are of
    first order. Returns clean latents.
    """
    latents, former = start, start
    log_snr = [math.log(a / s) if s > 0 else math.inf for a, s in zip(schedule.alpha, schedule.sigma)]
    last = len(schedule.timesteps) - 1
    for step, timestep in enumerate(schedule.timesteps):
        clean = (latents - schedule.sigma[step] * predict(latents, timestep, step)) / schedule.alpha[step]
        direction = clean
        if 0 < step < last:
            ratio = (log_snr[step] - log_snr[step - 1]) / (log_snr[step + 1] - log_snr[step])
            direction = clean + (clean - former) / (2 * ratio)
        shrink = schedule.sigma[step + 1] / schedule.sigma[step]
        gain = schedule.alpha[step + 1] - shrink * schedule.alpha[step]
        latents = shrink * latents + gain * direction
        former = clean
        callback(step)
    return latents


SOLVERS = {"dpm++2m": dpm_solver_pp_2m}
