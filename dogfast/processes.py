"""What the processes of one launch tell each other."""

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from dogfast.errors import EnvironmentFault

T = TypeVar("T")
PATIENCE = timedelta(days=30)
"""For how long the others wait while the first prepares what they are to do."""


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
