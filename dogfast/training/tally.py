"""What the steps of a training have cost so far: means of their losses, and how many were refused."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dogfast.errors import DogfastError

MAX_SKIPPED_IN_A_ROW = 20


class Tally:
    """Means of losses over the steps that were taken, kept on the device between looks, and a count of refused steps."""

    def __init__(self, objective: str, start: str):
        self.flag = {"confgan": "--confgan-lr"}.get(objective, "--lr" if start == "ce" else "--pretrain-lr")
        self.rows: list[tuple[dict[str, Tensor], Tensor]] = []
        self.step: list[dict[str, Tensor]] = []
        self.sums: dict[str, tuple[float, int]] = {}
        self.skipped, self.in_a_row = 0, 0

    def add(self, losses: dict[str, Tensor]) -> None:
        """The losses of one part of a step."""
        self.step.append(losses)

    def close_step(self, finite: Tensor) -> None:
        means = {name: torch.stack([part[name].double() for part in self.step]).mean() for name in self.step[0]}
        self.rows.append((means, finite))
        self.step = []

    def look(self) -> dict[str, float]:
        """Means since the last look; raises :class:`DogfastError` where nothing is learned any more."""
        since: dict[str, tuple[float, int]] = {}
        for losses, finite in self.rows:
            taken = bool(finite)
            self.skipped += not taken
            self.in_a_row = 0 if taken else self.in_a_row + 1
            if self.in_a_row == MAX_SKIPPED_IN_A_ROW:
                raise DogfastError(
                    f"training diverged: the losses of {MAX_SKIPPED_IN_A_ROW} steps in a row were not finite; lower {self.flag}, "
                    "or choose --train-precision fp32"
                )
            for name, loss in losses.items() if taken else ():
                for sums in (since, self.sums):
                    total, count = sums.get(name, (0.0, 0))
                    sums[name] = (total + float(loss), count + 1)
        self.rows = []
        return _means(since)

    def close_epoch(self) -> dict[str, float]:
        means, self.sums = _means(self.sums), {}
        return means

    def state(self) -> dict[str, Any]:
        self.look()
        return {"sums": self.sums, "skipped": self.skipped, "in_a_row": self.in_a_row}

    def restore(self, state: dict[str, Any]) -> None:
        self.sums = {name: (total, count) for name, (total, count) in state["sums"].items()}
        self.skipped, self.in_a_row = state["skipped"], state["in_a_row"]


def _means(sums: dict[str, tuple[float, int]]) -> dict[str, float]:
    return {name: total / count for name, (total, count) in sums.items()}
