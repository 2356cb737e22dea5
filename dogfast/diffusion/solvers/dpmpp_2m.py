"""DPM-Solver++ (2M), Lu et al. 2022, Algorithm 2: second-order multistep in the clean-image prediction.

The first and the last step are of first order.
"""

from __future__ import annotations

import torch

from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers.steps import Noise, Predict, clean_of


def dpmpp_2m(predict: Predict, start: torch.Tensor, schedule: Schedule, noise: Noise) -> torch.Tensor:
    latents, former = start, start
    log_snr = schedule.log_snr
    last = len(schedule.timesteps) - 1
    for step, timestep in enumerate(schedule.timesteps):
        clean = clean_of(latents, predict(latents, timestep, step), schedule, step)
        direction = clean
        if 0 < step < last:
            ratio = (log_snr[step] - log_snr[step - 1]) / (log_snr[step + 1] - log_snr[step])
            direction = clean + (clean - former) / (2 * ratio)
        shrink = schedule.sigma[step + 1] / schedule.sigma[step]
        latents = shrink * latents + (schedule.alpha[step + 1] - shrink * schedule.alpha[step]) * direction
        former = clean
    return latents
