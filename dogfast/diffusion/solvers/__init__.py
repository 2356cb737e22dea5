"""Solvers of the diffusion process (DOG Eq. 7), one a file; they know no network, no prompt and no batch size.

``solve(predict, start, schedule, noise)`` returns clean latents (R, C, h, w). ``start`` is standard normal noise, or latents
noised to the schedule's first timestep, and is not changed. ``noise`` is asked only by solvers that are not deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dogfast.diffusion.schedule import Schedule, Spacing, consistency, leading, trailing
from dogfast.diffusion.solvers.ddim import ddim
from dogfast.diffusion.solvers.ddpm import ddpm
from dogfast.diffusion.solvers.dpmpp_2m import dpmpp_2m
from dogfast.diffusion.solvers.lcm import lcm
from dogfast.diffusion.solvers.pndm import pndm
from dogfast.diffusion.solvers.steps import Noise, Predict
from dogfast.diffusion.solvers.unipc import unipc


@dataclass(frozen=True)
class Solver:
    """How to solve, and at which timesteps."""

    solve: Callable[[Predict, torch.Tensor, Schedule, Noise], torch.Tensor]
    spacing: Spacing


SOLVERS = {
    "dpm++2m": Solver(dpmpp_2m, trailing),
    "unipc": Solver(unipc, trailing),
    "ddim": Solver(ddim, trailing),
    "euler": Solver(ddim, trailing),  # Euler's method in sigma / alpha is DDIM's step
    "pndm": Solver(pndm, leading),
    "ddpm": Solver(ddpm, trailing),
    "lcm": Solver(lcm, consistency),
}

__all__ = ["SOLVERS", "Noise", "Predict", "Solver"]
