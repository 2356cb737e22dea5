"""What the processes of one launch tell each other."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TypeVar

from dogfast.environment import USE_CPU, keeps_to_cpus
from dogfast.errors import EnvironmentFault

T = TypeVar("T")
PATIENCE = timedelta(days=30)
"""For how long the others wait while the first prepares what they are to do."""


def own_gpu() -> int | None:
    """The number of this process's GPU on its machine, by the variables that launchers set; None where it works on CPUs.

    Raises :class:`EnvironmentFault` where more processes were started than there are GPUs.
    """
    import torch

    if keeps_to_cpus() or not torch.cuda.is_available():
        return None
    own, present = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if own >= present:
        raise EnvironmentFault(
            f"--num_processes: this machine has {present} GPUs; start one process for each, or work on its CPUs with {USE_CPU}=1"
        )
    return own


def told(word: T | None) -> T | None:
    """What the first process says, in every process; the word of the others does not count.

    Raises :class:`EnvironmentFault` where the first ended before it said anything.
    """
    import torch.distributed

    words = [word]
    try:
        torch.distributed.broadcast_object_list(words, src=0)
    except RuntimeError as error:
        raise EnvironmentFault("the first process ended before it had planned anything; it says why") from error
    return words[0]
