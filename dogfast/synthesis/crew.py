"""The processes that paint one source together, as `accelerate launch` (or torchrun) starts them: one a device.

They agree once on what is to be painted, then nobody waits for anybody. One that dies ends the launch; the same command
goes on where it stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dogfast.environment import processor_count
from dogfast.events import Events
from dogfast.processes import PATIENCE, own_gpu, told
from dogfast.run import Run
from dogfast.shards.format import record_name
from dogfast.shards.reader import record_paths
from dogfast.store import Place
from dogfast.synthesis.job import Job, open_job
from dogfast.synthesis.plan import Shard, read_segments, shards_of
from dogfast.synthesis.worker import Advance, paint_shards

T = TypeVar("T")
LOOK_S, LOOK_AT_STORE_S = 0.5, 5.0
"""How often the first process looks for what the others committed, once its own part is done; and, at most, at a store."""


@dataclass(frozen=True)
class Crew:
    """This process's number among ``size``."""

    rank: int = 0
    size: int = 1

    def told(self, word: T | None) -> T:
        """What the first process says, in every process; the word of the others does not count.

        Raises :class:`EnvironmentFault` where the first ended before it said anything.
        """
        return word if self.size == 1 else told(word)

    def share(self, work: list[T]) -> list[T]:
        """This process's part of ``work``, as even as can be."""
        return work[self.rank :: self.size]

    def paint(self, job: Job, shards: list[Shard], events: Events, advance: Advance) -> None:
        """`PaintAll` of the first process: its own share, counting in what the others commit."""
        self.told((job.config, job.run.root.absolute(), [shard.number for shard in shards]))
        mine = self.share(shards)
        own = {shard.number for shard in mine}
        others = _Others(job.folder, [shard for shard in shards if shard.number not in own])
        paint_shards(job, mine, self.rank, events, lambda images: advance(images + others.images()))
        others.wait(advance)

    def assist(self, events_of: Callable[[Run], Events]) -> None:
        """What every other process does: its share of what the first has planned."""
        config, root, numbers = self.told(None)
        run = Run(root)
        events = events_of(run)
        run.say = events.say
        job = open_job(config, run)
        planned = shards_of(read_segments(run.plan(job.source)), job.class_of)
        mine = self.share([planned[number] for number in numbers])
        paint_shards(job, mine, self.rank, events, lambda images: None)


def join_crew() -> Crew:
    """The crew this process was started in, by the variables that launchers set."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Crew()
    import torch

    gpu = own_gpu()
    if gpu is not None:
        torch.cuda.set_device(gpu)
    torch.set_num_threads(processor_count())
    torch.distributed.init_process_group("gloo", timeout=PATIENCE)
    return Crew(torch.distributed.get_rank(), size)


class _Others:
    """The shards that other processes paint: how many of their images came to stand since one last asked."""

    def __init__(self, folder: Place, shards: list[Shard]):
        self.folder, self.waited_for = folder, {record_name(shard.number): len(shard) for shard in shards}
        self.between_looks_s = 0.0 if isinstance(folder, Path) else LOOK_AT_STORE_S
        self.next_look = time.monotonic()

    def images(self) -> int:
        if not self.waited_for or time.monotonic() < self.next_look:
            return 0
        there = [path.name for path in record_paths(self.folder) if path.name in self.waited_for]
        self.next_look = time.monotonic() + self.between_looks_s
        return sum(self.waited_for.pop(name) for name in there)

    def wait(self, advance: Advance) -> None:
        while self.waited_for:
            advance(self.images())
            time.sleep(LOOK_S if self.waited_for else 0)
