"""UniPC of order 2 with B(h) = e^h - 1 in the clean-image prediction (Zhao et al. 2023, Algorithms 5 to 8).

Every prediction serves twice: it corrects the step that led to it, then predicts the next. The first and the last step
are of first order.
"""

from __future__ import annotations

import math

import torch

from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers.steps import Noise, Predict, clean_of


def unipc(predict: Predict, start: torch.Tensor, schedule: Schedule, noise: Noise) -> torch.Tensor:
    latents, before = start, start
    seen: list[torch.Tensor] = []
    last = len(schedule.timesteps) - 1
    for step, timestep in enumerate(schedule.timesteps):
        clean = clean_of(latents, predict(latents, timestep, step), schedule, step)
        if step > 0:
            latents = _corrected(before, seen, clean, schedule, step - 1)
        seen = [clean, *seen[:1]]
        before = latents
        latents = _predicted(before, seen if step < last else seen[:1], schedule, step)
    return latents


def _predicted(before: torch.Tensor, seen: list[torch.Tensor], schedule: Schedule, step: int) -> torch.Tensor:
    """``before`` of ``step`` at the next one; of second order where ``seen`` holds two clean predictions, newest first."""
    ahead, gain = _first_order(before, seen[0], schedule, step)
    if len(seen) == 1:
        return ahead
    return ahead + gain / 2 * (seen[1] - seen[0]) / _reach(schedule, step)


def _corrected(
    before: torch.Tensor, seen: list[torch.Tensor], arrived: torch.Tensor, schedule: Schedule, step: int
) -> torch.Tensor:
    """The step from ``before`` again, with the clean prediction ``arrived`` at its end; ``seen`` are those known before it."""
    ahead, gain = _first_order(before, seen[0], schedule, step)
    if len(seen) == 1:
        return ahead + gain / 2 * (arrived - seen[0])
    reach = _reach(schedule, step)
    first, second = _moments(_width(schedule, step))
    # Two weights whose sum is `first`, and whose sum weighted with the places reach and 1 is `second`.
    at_end = (second - reach * first) / (1 - reach)
    return ahead + gain * ((first - at_end) * (seen[1] - seen[0]) / reach + at_end * (arrived - seen[0]))


def _first_order(before: torch.Tensor, clean: torch.Tensor, schedule: Schedule, step: int) -> tuple[torch.Tensor, float]:
    """The step along ``clean`` alone, and what a change of the clean prediction weighs in it."""
    gain = schedule.alpha[step + 1] * -math.expm1(-_width(schedule, step))
    return schedule.sigma[step + 1] / schedule.sigma[step] * before + gain * clean, gain


def _width(schedule: Schedule, step: int) -> float:
    return schedule.log_snr[step + 1] - schedule.log_snr[step]


def _reach(schedule: Schedule, step: int) -> float:
    """Where the prediction before the last lies, in widths of the step: below 0."""
    return (schedule.log_snr[step - 1] - schedule.log_snr[step]) / _width(schedule, step)


def _moments(width: float) -> tuple[float, float]:
    """b_1 and b_2 of Eq. 9 over B(h)."""
    whole = math.expm1(-width)
    first = whole / -width - 1
    second = first / -width - 0.5
    return first / whole, 2 * second / whole
