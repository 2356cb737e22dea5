"""DDIM without noise (Song et al. 2021, Eq. 12)."""

from __future__ import annotations

import torch

from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers.steps import Noise, Predict, carried


def ddim(predict: Predict, start: torch.Tensor, schedule: Schedule, noise: Noise) -> torch.Tensor:
    latents = start
    for step, timestep in enumerate(schedule.timesteps):
        latents = carried(latents, predict(latents, timestep, step), schedule, step)
    return latents
