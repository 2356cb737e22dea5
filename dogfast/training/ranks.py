"""The processes that train one classifier together, as `accelerate launch` (or torchrun) starts them: one a device.

Every process walks through the same steps and draws the same numbers; it computes its rows of each batch, and the gradients
are averaged. So `--batch` counts the images of all, and the result does not depend on how many share them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dogfast.environment import processor_count
from dogfast.processes import PATIENCE, own_gpu, told


@dataclass(frozen=True)
class Ranks:
    """This process's ``index`` among ``count``."""

    index: int = 0
    count: int = 1

    def rows(self, total: int) -> slice:
        """This process's rows of a batch of ``total``, which ``count`` divides."""
        share = total // self.count
        return slice(self.index * share, (self.index + 1) * share)

    def average(self, tensor: Tensor) -> Tensor:
        """The mean of every process's ``tensor``; gradients do not flow."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        return reduce(tensor.detach().clone(), "mean")

    def gather(self, tensor: Tensor) -> Tensor:
        """The rows (n, ...) of every process, in their order: (count * n, ...); gradients flow back to their owners."""
        if self.count == 1:
            return tensor
        from torch.distributed.nn.functional import all_gather

        return torch.cat(all_gather(tensor))

    def tell(self, task: Any) -> None:
        """Give ``task`` to the other processes; None ends their work."""
        if self.count > 1:
            told(task)


ALONE = Ranks()


def join_ranks() -> Ranks:
    """The processes this one was started with, by the variables that launchers set."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=own_gpu() is None, timeout=PATIENCE)
    if state.device.type == "cpu":
        torch.set_num_threads(processor_count())
    return Ranks(state.process_index, state.num_processes)
