"""Multistep consistency sampling (Luo et al. 2023, LCM, Algorithm 3): to the clean latents at once, then noised again."""

from __future__ import annotations

import math

import torch

from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers.steps import Noise, Predict, clean_of

DATA_DEVIATION = 0.5
TIMESTEP_SCALE = 10.0


def lcm(predict: Predict, start: torch.Tensor, schedule: Schedule, noise: Noise) -> torch.Tensor:
    latents = start
    last = len(schedule.timesteps) - 1
    for step, timestep in enumerate(schedule.timesteps):
        time = TIMESTEP_SCALE * timestep
        skip = DATA_DEVIATION**2 / (time**2 + DATA_DEVIATION**2)
        out = time / math.hypot(time, DATA_DEVIATION)
        latents = skip * latents + out * clean_of(latents, predict(latents, timestep, step), schedule, step)
        if step < last:
            latents = schedule.alpha[step + 1] * latents + schedule.sigma[step + 1] * noise(step)
    return latents
