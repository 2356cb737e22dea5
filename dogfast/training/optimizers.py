"""Optimizers and learning rates by name. All of them pass over a step whose ``found_inf`` is 1, as torch's fused ones do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from dogfast.training.regimes import Regime

FINAL_LR = 1e-6
WARMUP = 1 / 70
"""Of all steps: 10 of CSI's 700 epochs. SupCon's release warms up as long where a batch is as large as here, of 500."""
TRUST = 1e-3


# --- learning rates ---------------------------------------------------------------------------------------------
def cosine(step: int, steps: int, peak: float) -> float:
    """Learning rate of ``step`` in 0 … ``steps`` - 1: ``peak`` at the first, exactly 1e-6 at the last."""
    final = min(FINAL_LR, peak)
    return final + (peak - final) * (1 + math.cos(math.pi * step / max(steps - 1, 1))) / 2


def stepwise(step: int, steps: int, peak: float, drops: tuple[float, ...] = (0.5, 0.75, 0.9)) -> float:
    """``peak``, and after each of ``drops``, shares of the steps, a tenth of what it was."""
    return peak * 0.1 ** sum(step >= drop * steps for drop in drops)


def warm_cosine(step: int, steps: int, peak: float) -> float:
    """`cosine` behind a linear rise over the first seventieth."""
    rise = max(round(WARMUP * steps), 1)
    return peak * (step + 1) / rise if step < rise else cosine(step - rise, steps - rise, peak)


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {
    "cosine": cosine,
    "steps": stepwise,
    "even-steps": partial(stepwise, drops=(0.3, 0.6, 0.9)),
    "one-step": partial(stepwise, drops=(0.6,)),
    "warm-cosine": warm_cosine,
}


# --- optimizers -------------------------------------------------------------------------------------------------
class Lars(Optimizer):
    """Layer-wise adaptive rates (You, Gitman and Ginsburg 2017, arXiv 1708.03888, Algorithm 1).

    v <- m v + lr * (1e-3 ||w|| / (||g|| + wd ||w||)) (g + wd w); w <- w - v. Tensors of one dimension (biases, batch
    normalisation) take plain momentum steps without decay.
    """

    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float, weight_decay: float):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def _move(self, weight: nn.Parameter, gradient: Tensor, group: dict) -> None:
        rate: Tensor | float = group["lr"]
        if weight.ndim > 1:
            decay = group["weight_decay"]
            own, slope = weight.norm(), gradient.norm()
            trust = TRUST * own / (slope + decay * own)
            rate = rate * torch.where((own > 0) & (slope > 0), trust, torch.ones_like(trust))
            gradient = gradient + decay * weight
        velocity = self.state[weight]["momentum_buffer"]
        moved = group["momentum"] * velocity + rate * gradient
        refused = torch.zeros((), device=weight.device) if self.found_inf is None else self.found_inf
        velocity.copy_(torch.where(refused > 0, velocity, moved))
        weight.copy_(torch.where(refused > 0, weight, weight - moved))


def build_optimizer(parameters: list[nn.Parameter], regime: Regime, momentum: float) -> Optimizer:
    """The optimizer of ``regime`` with its state laid out, so that a checkpoint can be put into it and a step refused."""
    if regime.optimizer == "adam":
        return primed(Adam(parameters, regime.lr, weight_decay=regime.weight_decay, fused=True))
    if regime.optimizer == "lars":
        return primed(Lars(parameters, regime.lr, momentum, regime.weight_decay))
    nesterov = momentum > 0
    return primed(SGD(parameters, regime.lr, momentum, weight_decay=regime.weight_decay, nesterov=nesterov, fused=True))


def primed(optimizer: Optimizer) -> Optimizer:
    """``optimizer`` with the zeros its first step would start from."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if isinstance(optimizer, Adam):
                zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **zeros}
            elif group["momentum"]:
                optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
    return optimizer


def step_unless_refused(optimizer: Optimizer, finite: Tensor) -> None:
    """A step of a fused optimizer where ``finite``, a scalar on the device, is true; then its gradients are gone."""
    optimizer.grad_scale, optimizer.found_inf = None, 1.0 - finite.float()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
