"""Noise schedules: how much signal is left at each timestep, and which timesteps a solver visits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dogfast.errors import EnvironmentFault


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
    """Where a solver evaluates: ``timesteps`` (n,) falling, and signal ``alpha`` and noise ``sigma`` (n + 1,) whose last entry is clean."""

    timesteps: tuple[int, ...]
    alpha: tuple[float, ...]
    sigma: tuple[float, ...]


def trailing(signal_variance: torch.Tensor, steps: int, start_t: int | None = None) -> Schedule:
    """``steps`` timesteps from the noisiest down at equal distances ("trailing" in Lin et al. 2024), then the clean image.

    With ``start_t`` from that timestep down.
    """
    count = len(signal_variance) if start_t is None else start_t + 1
    timesteps = [round(count - i * count / steps) - 1 for i in range(steps)]
    variance = [float(signal_variance[t]) for t in timesteps]
    alpha = (*(v**0.5 for v in variance), 1.0)
    sigma = (*((1 - v) ** 0.5 for v in variance), 0.0)
    return Schedule(tuple(timesteps), alpha, sigma)
