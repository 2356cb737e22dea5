"""PNDM as Stable Diffusion runs it: linear multistep in the noise (Liu et al. 2022, Eq. 9 and 12, without Runge-Kutta).

The first step is taken twice, the second time with the mean of the noise at both of its ends, so n steps cost n + 1
predictions.
"""

from __future__ import annotations

import torch

from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers.steps import Noise, Predict, carried

ADAMS_BASHFORTH = {
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
"""By order, the newest noise first."""


def pndm(predict: Predict, start: torch.Tensor, schedule: Schedule, noise: Noise) -> torch.Tensor:
    times = schedule.timesteps
    eps = predict(start, times[0], 0)
    if len(times) == 1:
        return carried(start, eps, schedule, 0)
    seen = [eps]
    middle = (predict(carried(start, eps, schedule, 0), times[1], 1) + eps) / 2
    latents = carried(start, middle, schedule, 0)
    for step in range(1, len(times)):
        seen = [predict(latents, times[step], step), *seen[:3]]
        eps = sum(weight * each for weight, each in zip(ADAMS_BASHFORTH[len(seen)], seen))
        latents = carried(latents, eps, schedule, step)
    return latents
