"""The processes that paint one source together, as `accelerate launch` (or torchrun) starts them: one a device.

They agree once on what is to be painted, then nobody waits for anybody. One that dies ends the launch; the same command
goes on where it stopped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from dogfast.environment import processor_count

T = TypeVar("T")
PATIENCE = timedelta(days=30)
"""For how long the others wait while the first finds the anchors."""


@dataclass(frozen=True)
class Crew:
    """This process's number among ``size``."""

    rank: int = 0
    size: int = 1

    def told(self, word: T | None) -> T:
        """What the first process says, in every process; the word of the others does not count."""
        if self.size == 1:
            return word
        import torch.distributed

        words = [word]
        torch.distributed.broadcast_object_list(words, src=0)
        return words[0]

    def share(self, work: list[T]) -> list[T]:
        """This process's part of ``work``, as even as can be."""
        return work[self.rank :: self.size]


ALONE = Crew()


def join_crew() -> Crew:
    """The crew this process was started in, by the variables that launchers set; `ALONE` without them."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.set_num_threads(processor_count())
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    return Crew(torch.distributed.get_rank(), size)
