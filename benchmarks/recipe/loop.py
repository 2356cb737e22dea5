"""The loop under every training of a generator: AdamW, warm-up and cosine, clipping, averaged weights, going on where it stopped."""

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from dogfast.seeds import derive_seed

T = TypeVar("T")

KEPT_EVERY_S = 120
TOLD_EVERY = 100


class Stopped(Exception):
    """The time is over; a checkpoint stands."""


@dataclass(frozen=True)
class Loop:
    """Where and how a generator is trained.

    ``ends_at``: `time.monotonic()` after which it stops. ``compiles``: fused loops instead of single kernels, half as fast again
    on CPUs, after a minute and a half; on CPUs that needs a C++ compiler.
    """

    folder: Path
    device: str = "cpu"
    bf16: bool = False
    ends_at: float = math.inf
    seed: int = 0
    compiles: bool = False

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device, torch.bfloat16) if self.bf16 else nullcontext()

    def compiled(self, work: Callable[..., T]) -> Callable[..., T]:
        # In bf16 on CPUs its gradients are wrong (torch 2.13): an autoencoder stays where it began. Plain bf16 is nearly as fast there.
        wrong = self.bf16 and self.device == "cpu"
        return torch.compile(work) if self.compiles and not wrong else work

    def generator(self, name: str, step: int) -> torch.Generator:
        """The chance of one step, the same whatever was stopped before it."""
        return torch.Generator(self.device).manual_seed(derive_seed("recipe", self.seed, name, step))

    def optimise(
        self,
        name: str,
        modules: Mapping[str, nn.Module],
        loss_of_step: Callable[[int, torch.Generator], Tensor],
        steps: int,
        lr: float,
        ema: float = 0.0,
    ) -> dict[str, nn.Module]:
        """Take ``steps`` steps; the modules, or with ``ema`` the exponential averages of their weights, in evaluation mode.

        What a former call of the same ``name`` left in `folder` is gone on with. Raises `Stopped` at `ends_at`.
        """
        training = _Training(modules, lr, ema)
        file = self.folder / f"{name}.pt"
        step = training.load(file, self.device) if file.exists() else 0
        began, kept, total, told = time.monotonic(), time.monotonic(), 0.0, step
        while step < steps:
            total += training.step(loss_of_step(step, self.generator(name, step)), _share(step, steps), step)
            step += 1
            now = time.monotonic()
            if step % TOLD_EVERY == 0:
                seconds = now - began
                print(f"{name} step={step}/{steps} loss={total / (step - told):.5f} seconds={seconds:.0f}", flush=True)
                total, told = 0.0, step
            if step == steps or now > self.ends_at or now - kept > KEPT_EVERY_S:
                training.save(file, step)
                kept = now
            if step < steps and now > self.ends_at:
                raise Stopped(f"{name} stands at step {step} of {steps}")
        return {name: module.eval() for name, module in (training.averages or training.modules).items()}


def _share(step: int, steps: int) -> float:
    """Of the learning rate: a twentieth of the steps to get there, then half a cosine to nothing."""
    return min(1.0, (step + 1) / max(1, steps // 20)) * 0.5 * (1 + math.cos(math.pi * step / steps))


class _Training:
    """Modules, what optimises them, and what is averaged of them."""

    def __init__(self, modules: Mapping[str, nn.Module], lr: float, ema: float):
        self.modules, self.lr, self.ema = {name: module.train() for name, module in modules.items()}, lr, ema
        self.parameters = [each for module in modules.values() for each in module.parameters() if each.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
        self.averages = {name: deepcopy(module).requires_grad_(False) for name, module in modules.items()} if ema else {}

    def step(self, loss: Tensor, share: float, step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * share
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        decay = min(self.ema, (1 + step) / (10 + step))
        for name, average in self.averages.items():
            for kept, new in zip(average.parameters(), self.modules[name].parameters()):
                kept.lerp_(new.detach(), 1 - decay)
        return loss.item()

    def save(self, file: Path, step: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        weights = {name: {key: module.state_dict() for key, module in group.items()} for name, group in self._groups.items()}
        torch.save(weights | {"optimizer": self.optimizer.state_dict(), "step": step}, part)
        os.replace(part, file)

    def load(self, file: Path, device: str) -> int:
        found = torch.load(file, map_location=device, weights_only=True)
        for name, group in self._groups.items():
            for key, module in group.items():
                module.load_state_dict(found[name][key])
        self.optimizer.load_state_dict(found["optimizer"])
        return found["step"]

    @property
    def _groups(self) -> dict[str, dict[str, nn.Module]]:
        return {"modules": self.modules, "averages": self.averages}
