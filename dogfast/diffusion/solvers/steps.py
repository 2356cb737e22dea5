"""What solvers share. The marginal at step i of a schedule: latents = alpha_i * clean + sigma_i * eps."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dogfast.diffusion.schedule import Schedule

Predict = Callable[[torch.Tensor, int, int], torch.Tensor]
"""(latents, timestep, step number) to predicted noise."""

Noise = Callable[[int], torch.Tensor]
"""Step number to standard normal noise like the latents."""


def clean_of(latents: torch.Tensor, eps: torch.Tensor, schedule: Schedule, step: int) -> torch.Tensor:
    """The clean latents that ``eps`` says ``latents`` are made of."""
    return (latents - schedule.sigma[step] * eps) / schedule.alpha[step]


def carried(latents: torch.Tensor, eps: torch.Tensor, schedule: Schedule, step: int) -> torch.Tensor:
    """``latents`` of ``step`` at the next one, along ``eps`` (Song et al. 2021, DDIM, Eq. 12 with no noise)."""
    return schedule.alpha[step + 1] * clean_of(latents, eps, schedule, step) + schedule.sigma[step + 1] * eps
