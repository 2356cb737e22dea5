"""Noise schedules: how much signal is left at each timestep, and which timesteps a solver visits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from dogfast.errors import EnvironmentFault, UsageError

CONSISTENCY_POINTS = 50


def alphas_cumprod(config: dict[str, Any]) -> torch.Tensor:
    """Signal variance at each training timestep, float64 (T,), from a diffusers scheduler configuration."""
    absent = [name for name in ("beta_start", "beta_end", "num_train_timesteps") if name not in config]
    if absent:
        raise EnvironmentFault(
            f"the model's scheduler_config.json has no {absent[0]!r}; take it from the model's own publisher"
        )
    start, end, count = config["beta_start"], config["beta_end"], config["num_train_timesteps"]
    changes = [name for name in ("trained_betas", "rescale_betas_zero_snr") if config.get(name)]
    if changes:
        raise EnvironmentFault(
            f"the model's scheduler_config.json sets {changes[0]!r}, which is not supported; choose another --model"
        )
    kind = config.get("beta_schedule", "linear")
    if kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64).square()
    elif kind == "linear":
        betas = torch.linspace(start, end, count, dtype=torch.float64)
    else:
        raise EnvironmentFault(f"the model's beta_schedule {kind!r} is not supported; known: scaled_linear, linear")
    if config.get("prediction_type", "epsilon") != "epsilon":
        raise EnvironmentFault(f"the model predicts {config['prediction_type']!r}; only epsilon models are supported")
    return (1 - betas).cumprod(0)


@dataclass(frozen=True)
class Schedule:
    """Where a solver evaluates: ``timesteps`` (n,) falling, and signal ``alpha`` and noise ``sigma`` (n + 1,), the last where it ends."""

    timesteps: tuple[int, ...]
    alpha: tuple[float, ...]
    sigma: tuple[float, ...]

    @cached_property
    def log_snr(self) -> list[float]:
        """log(alpha / sigma), (n + 1,); infinite where nothing of the noise is left."""
        return [math.log(a / s) if s > 0 else math.inf for a, s in zip(self.alpha, self.sigma)]


Spacing = Callable[[torch.Tensor, int, int | None], Schedule]
"""(signal variance (T,), steps, first timestep or None for the noisiest) to a schedule."""


def trailing(signal_variance: torch.Tensor, steps: int, start_t: int | None = None) -> Schedule:
    """``steps`` timesteps from the noisiest down at equal distances ("trailing" in Lin et al. 2024), then the clean image.

    With ``start_t`` from that timestep down.
    """
    count = _count(signal_variance, start_t)
    return _schedule(signal_variance, [round(count - i * count / steps) - 1 for i in range(steps)], 1.0)


def leading(signal_variance: torch.Tensor, steps: int, start_t: int | None = None) -> Schedule:
    """Multiples of the distance, plus one, from the top down, and the end at timestep 0: what Stable Diffusion v1.5 was
    published with (``steps_offset`` 1, ``set_alpha_to_one`` false). It never visits the noisiest timestep.
    """
    distance = _count(signal_variance, start_t) // steps
    return _schedule(signal_variance, [i * distance + 1 for i in reversed(range(steps))], float(signal_variance[0]))


def consistency(signal_variance: torch.Tensor, steps: int, start_t: int | None = None) -> Schedule:
    """``steps`` of the `CONSISTENCY_POINTS` timesteps that LCM was distilled at, from the top down, then the clean image."""
    distance = len(signal_variance) // CONSISTENCY_POINTS
    points = [i * distance - 1 for i in reversed(range(1, CONSISTENCY_POINTS + 1))]
    points = [t for t in points if start_t is None or t <= start_t]
    return _schedule(signal_variance, [points[len(points) * i // steps] for i in range(steps)], 1.0)


def _count(signal_variance: torch.Tensor, start_t: int | None) -> int:
    return len(signal_variance) if start_t is None else start_t + 1


def _schedule(signal_variance: torch.Tensor, timesteps: list[int], end: float) -> Schedule:
    if timesteps[0] >= len(signal_variance) or len(set(timesteps)) < len(timesteps):
        raise UsageError(f"--steps {len(timesteps)} are more timesteps than there are to visit; choose fewer")
    variance = [*(float(signal_variance[t]) for t in timesteps), end]
    return Schedule(tuple(timesteps), tuple(v**0.5 for v in variance), tuple((1 - v) ** 0.5 for v in variance))
