"""Textual inversion of all classes in the same passes (DOG Eq. 4; Gal et al. 2023).

s_y = argmin_v E || eps - eps_theta(z_t, t, T(prompt(v))) ||^2 over the images of class y, UNet and text encoder frozen.
Every row of a batch may be of another class: gradients of different classes meet only in the mean, so the passes are
shared and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dogfast.diffusion.noise import gaussian_noise
from dogfast.errors import EnvironmentFault
from dogfast.seeds import derive_seed

EVALUATE_EVERY = 50
FIXED_ROWS = 128
PATIENCE = 3
BETAS = (0.9, 0.999)

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(rows S (C, D), labels (B,), latents (B, 4, h, w), timesteps (B,), noise like latents) to the mean squared error."""


@dataclass(frozen=True)
class Inversion:
    """Learned rows (C, D) and the fixed-noise loss before and after."""

    rows: torch.Tensor
    loss_before: float
    loss_after: float
    steps: int


State = dict[str, torch.Tensor]
"""All that learning goes on from: rows, Adam's state, the best rows, the generator, and numbers as float64 scalars."""


def invert(
    loss: Loss,
    start: torch.Tensor,
    latents: torch.Tensor,
    labels: torch.Tensor,
    timesteps: int,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    advance: Callable[[int], None] = lambda n: None,
    longest: float = math.inf,
    kept: State | None = None,
    keep: Callable[[State], None] = lambda state: None,
) -> Inversion:
    """Learn a row a class from ``start`` (C, D) on scaled latents (n, 4, h, w) with labels (n,).

    The best rows on a fixed set of images, noises and timesteps are kept; learning stops early when `PATIENCE` looks in a
    row bring nothing better. Rows are never longer than ``longest``: over-long ones would rule every prompt they stand in.
    ``advance`` is told the images of every update; ``keep`` is given the state at every look, and from such a ``kept`` state
    learning goes on exactly. Raises :class:`EnvironmentFault` when the loss is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    fixed = _draw(latents, labels, timesteps, min(FIXED_ROWS, 8 * len(start)), generator)
    rows = start.clone().float()
    adam = RowAdam(rows, lr)
    if kept is None:
        before = best_loss = _finite(_evaluate(loss, rows, fixed, batch), 0)
        best, waited, step = rows.clone(), 0, 0
    else:
        rows, best = kept["rows"].clone(), kept["best"].clone()
        adam.mean, adam.square, adam.seen = (kept[name].clone() for name in ("mean", "square", "seen"))
        before, best_loss = float(kept["before"]), float(kept["best_loss"])
        waited, step = int(kept["waited"]), int(kept["step"])
        generator.set_state(kept["generator"])
        advance(step * batch)
    while step < steps and waited < PATIENCE:
        step += 1
        rows.requires_grad_(True)
        drawn = _draw(latents, labels, timesteps, batch, generator)
        value = loss(rows, *drawn)
        _finite(float(value.detach()), step)
        (gradient,) = torch.autograd.grad(value, rows)
        rows = rows.detach()
        adam.step(rows, gradient, drawn[0].unique())
        rows *= (longest / rows.norm(dim=1, keepdim=True)).clamp(max=1.0)
        advance(batch)
        if step % EVALUATE_EVERY == 0 or step == steps:
            now = _finite(_evaluate(loss, rows, fixed, batch), step)
            waited = 0 if now < best_loss else waited + 1
            if now < best_loss:
                best, best_loss = rows.clone(), now
            keep(_state(rows, best, adam, generator, before=before, best_loss=best_loss, waited=waited, step=step))
    return Inversion(best, before, best_loss, step)


def _state(rows: torch.Tensor, best: torch.Tensor, adam: RowAdam, generator: torch.Generator, **numbers: float) -> State:
    tensors = {"rows": rows, "best": best, "mean": adam.mean, "square": adam.square, "seen": adam.seen}
    scalars = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    return tensors | scalars | {"generator": generator.get_state()}


def _finite(value: float, step: int) -> float:
    if not math.isfinite(value):
        raise EnvironmentFault(
            f"textual inversion: the loss is not finite at step {step}; lower --inversion-lr, or use --precision fp32"
        )
    return value


class RowAdam:
    """Adam (Kingma & Ba 2015) whose state and steps belong to single rows: rows that were not seen do not drift."""

    def __init__(self, rows: torch.Tensor, lr: float):
        self.lr = lr
        self.mean, self.square = torch.zeros_like(rows), torch.zeros_like(rows)
        self.seen = torch.zeros(len(rows), 1)

    def step(self, rows: torch.Tensor, gradient: torch.Tensor, touched: torch.Tensor) -> None:
        """Update ``rows[touched]`` in place from ``gradient`` (C, D)."""
        g = gradient[touched]
        self.seen[touched] += 1
        self.mean[touched] = BETAS[0] * self.mean[touched] + (1 - BETAS[0]) * g
        self.square[touched] = BETAS[1] * self.square[touched] + (1 - BETAS[1]) * g.square()
        mean = self.mean[touched] / (1 - BETAS[0] ** self.seen[touched])
        square = self.square[touched] / (1 - BETAS[1] ** self.seen[touched])
        rows[touched] -= self.lr * mean / (square.sqrt() + 1e-8)


Drawn = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _draw(latents: torch.Tensor, labels: torch.Tensor, timesteps: int, count: int, generator: torch.Generator) -> Drawn:
    """Labels, latents, timesteps and noise of ``count`` rows; timesteps are stratified over the whole range."""
    rows = torch.randint(len(latents), (count,), generator=generator)
    strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    noise_seed = int(torch.randint(2**31, (1,), generator=generator))
    noise = gaussian_noise([derive_seed("inversion", noise_seed, i) for i in range(count)], tuple(latents.shape[1:]))
    # In float32 the last stratum's top rounds to 1.
    return labels[rows], latents[rows], (strata * timesteps).long().clamp(max=timesteps - 1), noise


@torch.no_grad()
def _evaluate(loss: Loss, rows: torch.Tensor, drawn: Drawn, batch: int) -> float:
    parts = list(zip(*(part.split(batch) for part in drawn)))
    return sum(float(loss(rows, *part)) * len(part[0]) for part in parts) / len(drawn[0])
