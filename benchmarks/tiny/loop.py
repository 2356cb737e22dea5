"""What the three trainings share: a cosine schedule with warm-up, clipping, and a line of progress."""

import math
import time
from collections.abc import Callable, Iterable

import torch


def optimise(
    name: str,
    parameters: Iterable[torch.nn.Parameter],
    loss_of_step: Callable[[int], torch.Tensor],
    steps: int,
    lr: float,
    after_step: Callable[[int], None] = lambda step: None,
) -> None:
    """AdamW over ``steps`` calls of ``loss_of_step``; the loss is averaged over 100 steps and printed."""
    parameters = list(parameters)
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
    warmup = max(1, steps // 20)
    started, total = time.monotonic(), 0.0
    for step in range(steps):
        factor = min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        loss = loss_of_step(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        after_step(step)
        total += loss.item()
        if (step + 1) % 100 == 0:
            print(f"{name} step={step + 1}/{steps} loss={total / 100:.5f} seconds={time.monotonic() - started:.0f}", flush=True)
            total = 0.0
