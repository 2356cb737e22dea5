"""Ancestral sampling, DOG's Eq. 7 to the letter (Ho et al. 2020, Algorithm 2, with the posterior's variance)."""

from __future__ import annotations

import math

import torch

from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers.steps import Noise, Predict, clean_of


def ddpm(predict: Predict, start: torch.Tensor, schedule: Schedule, noise: Noise) -> torch.Tensor:
    latents = start
    last = len(schedule.timesteps) - 1
    for step, timestep in enumerate(schedule.timesteps):
        clean = clean_of(latents, predict(latents, timestep, step), schedule, step)
        alpha, sigma = schedule.alpha[step : step + 2], schedule.sigma[step : step + 2]
        kept = alpha[0] / alpha[1]  # of the signal, in this step of noising
        of_clean = alpha[1] * (1 - kept**2) / sigma[0] ** 2
        of_latents = kept * sigma[1] ** 2 / sigma[0] ** 2
        latents = of_clean * clean + of_latents * latents
        if step < last:
            latents = latents + math.sqrt(1 - kept**2) * sigma[1] / sigma[0] * noise(step)
    return latents
