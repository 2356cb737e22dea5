"""Textual inversion of all classes in the same passes (DOG Eq. 4; Gal et al. 2023).

s_y = argmin_v E || eps - eps_theta(z_t, t, T(prompt(v))) ||^2 over the images of class y, UNet and text encoder frozen.
Every row of a batch may be of another class: gradients of different classes meet only in the mean, so the passes are
shared and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dogfast.diffusion.noise import derive_seed, gaussian_noise

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
) -> Inversion:
    """Learn a row a class from ``start`` (C, D) on scaled latents (n, 4, h, w) with labels (n,).

    The best rows on a fixed set of images, noises and timesteps are kept; learning stops early when `PATIENCE` looks in a
    row bring nothing better. ``advance`` is told the images of every update.
    """
    generator = torch.Generator().manual_seed(seed)
    fixed = _draw(latents, labels, timesteps, min(FIXED_ROWS, 8 * len(start)), generator)
    rows = start.clone().float()
    adam = RowAdam(rows, lr)
    before = best_loss = _evaluate(loss, rows, fixed, batch)
    best, waited, step = rows.clone(), 0, 0
    for step in range(1, steps + 1):
        rows.requires_grad_(True)
        drawn = _draw(latents, labels, timesteps, batch, generator)
        (gradient,) = torch.autograd.grad(loss(rows, *drawn), rows)
        rows = rows.detach()
        adam.step(rows, gradient, drawn[0].unique())
        advance(batch)
        if step % EVALUATE_EVERY == 0 or step == steps:
            now = _evaluate(loss, rows, fixed, batch)
            waited = 0 if now < best_loss else waited + 1
            if now < best_loss:
                best, best_loss = rows.clone(), now
            if waited >= PATIENCE:
                break
    return Inversion(best, before, best_loss, step)


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
