"""A device that hangs raises nothing. A timer ends its process then, with the stacks of all its threads on stderr.

The timer is faulthandler's, which needs no answer from Python. What follows is the end of any process that dies: Ray starts
its painter again, a launcher ends its job, and the same command goes on where it stopped.
"""

from __future__ import annotations

import faulthandler
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

FIRST_LIMIT_S = 2 * 3600.0
"""For the first batch: engines compile in it, and nobody knows yet how long one takes (an hour of 512 px on a slow laptop)."""
LEAST_LIMIT_S = 60.0
PATIENCE = 10.0
"""Times the median batch, of the last `KEPT` ones."""
KEPT = 100
STDERR = 2


class Watchdog:
    """Watches over the batches of one process, which all take about as long."""

    def __init__(self):
        self._seconds: deque[float] = deque(maxlen=KEPT)
        self._began = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The process ends where a batch within takes too long; outside, nothing is timed."""
        self._arm()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    @contextmanager
    def between_batches(self) -> Iterator[None]:
        """A batch is done and the next has not begun; what is done within may wait, for a store say."""
        self._seconds.append(time.monotonic() - self._began)
        faulthandler.cancel_dump_traceback_later()
        yield
        self._arm()

    def forget(self) -> None:
        """Batches will be other ones from here on."""
        self._seconds.clear()

    @property
    def limit_s(self) -> float:
        return max(LEAST_LIMIT_S, PATIENCE * median(self._seconds)) if self._seconds else FIRST_LIMIT_S

    def _arm(self) -> None:
        self._began = time.monotonic()
        faulthandler.dump_traceback_later(self.limit_s, exit=True, file=STDERR)
