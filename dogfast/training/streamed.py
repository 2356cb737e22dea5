"""Outliers that do not fit into memory, or are still being painted: read in windows, decoded a batch ahead.

A cycle goes once through the parts (shards, or slices of a list of files) that were there when it began. In an order that
is a function of seed and cycle they are dealt to windows, and the samples of a window are shuffled together. Windows hold
encoded samples: this one, and the next, which is read while this one is used. Of a batch, a process decodes its own rows.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from dogfast.environment import processor_count
from dogfast.errors import DataError
from dogfast.seeds import stream

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """What is read at once, and the bytes its samples take up, encoded or decoded, whichever is more."""

    name: str
    bytes: int


class Parts(Protocol[T]):
    """Where encoded samples come from. All but `listed` is called in several threads at once."""

    def listed(self, beyond: int) -> list[Part]:
        """More than ``beyond`` parts, those of an earlier call among them; :class:`DataError` where there will never be."""
        ...

    def read(self, name: str) -> list[T]:
        """The samples of a part, perhaps none; :class:`DataError` names what is wrong with it."""
        ...

    def decode(self, sample: T) -> np.ndarray:
        """uint8 (side, side, 3); :class:`DataError` names what is no image."""
        ...


@dataclass(frozen=True)
class Window:
    """One of the windows a ``cycle`` is dealt to: ``layout`` names the parts of each."""

    cycle: int
    layout: list[list[str]]
    number: int

    @property
    def parts(self) -> list[str]:
        return self.layout[self.number]

    @property
    def ends_cycle(self) -> bool:
        return self.number + 1 == len(self.layout)


BEFORE_ALL = Window(-1, [[]], 0)


class Streamed(Generic[T]):
    """An endless row of outliers, uint8 (3, H, W) in channels_last; every one of ``parts`` is shown once a cycle.

    What cannot be read is raised by the `take` that would have given it.
    """

    def __init__(self, parts: Parts[T], side_px: int, window_bytes: int, *seed: Any):
        """``window_bytes``: what two windows may take up together; a window has one part at least."""
        self.parts, self.side_px, self.window_bytes, self.seed = parts, side_px, window_bytes // 2, seed
        self.seen: set[str] = set()
        """Names of the parts whose turn has come."""
        self._threads = processor_count()
        self._decoders = ThreadPoolExecutor(self._threads, "outlier decoder")
        self._readers = ThreadPoolExecutor(1, "outlier reader")  # headers and facts are parsed in Python: two would take turns
        self._stand(BEFORE_ALL, [], 0)

    # --- the row ------------------------------------------------------------------------------------------------
    def take(self, count: int, rows: slice = slice(None)) -> Tensor:
        wanted = (self._offset, count, rows)
        known, batch = self._ahead
        drawn = self._draw(count)
        if known != wanted:
            batch = self._decoding(drawn[rows])
        self._look_ahead(count, rows)
        return batch()

    @property
    def position(self) -> dict[str, Any]:
        now = self._window
        facts = {"cycle": now.cycle, "layout": now.layout, "window": now.number}
        return facts | {"offset": self._offset, "seen": sorted(self.seen)}

    def seek(self, position: dict[str, Any]) -> None:
        """Only the window that ``position`` was taken in is read. Raises :class:`DataError` where a part of it is gone."""
        window = Window(int(position["cycle"]), position["layout"], int(position["window"]))
        there = {part.name for part in self.parts.listed(0)}
        gone = sorted({name for names in window.layout for name in names} - there)
        if gone:
            raise DataError(f"{gone[0]}, which the interrupted training read, is gone; restore it, or remove the checkpoint")
        self._stand(window, self._reading(window)(), int(position["offset"]))
        self.seen = set(position["seen"])

    def close(self) -> None:
        """End what goes on in the background."""
        for pool in (self._readers, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _draw(self, count: int) -> list[T]:
        drawn: list[T] = []
        while len(drawn) < count:
            if self._offset == len(self._samples):
                self._move_on()
            some = self._samples[self._offset : self._offset + count - len(drawn)]
            self._offset += len(some)
            drawn += some
        return drawn

    # --- windows ------------------------------------------------------------------------------------------------
    def _stand(self, window: Window, samples: list[T], offset: int) -> None:
        self._window, self._samples, self._offset = window, samples, offset
        self._given = offset
        """Samples of this cycle so far, whatever they were where it was interrupted."""
        self._coming: tuple[Window, Callable[[], list[T]]] | None = None
        self._ahead: tuple[Any, Callable[[], Tensor]] = (None, lambda: torch.empty(0))

    def _move_on(self) -> None:
        """Enter the next window, and begin to read the one after it."""
        window, samples = self._coming or self._next(self._window)
        given = 0 if self._window.ends_cycle else self._given
        self._stand(window, samples(), 0)
        self._given = given + len(self._samples)
        self.seen.update(window.parts)
        self._coming = self._next(window)

    def _next(self, window: Window) -> tuple[Window, Callable[[], list[T]]]:
        """The window after ``window``, as it begins to be read."""
        if window.ends_cycle:
            parts = self.parts.listed(0 if self._given else sum(map(len, window.layout)))
            window = self._dealt(parts, window.cycle + 1)
        else:
            window = Window(window.cycle, window.layout, window.number + 1)
        return window, self._reading(window)

    def _dealt(self, parts: list[Part], cycle: int) -> Window:
        """The first window of ``cycle``."""
        layout: list[list[str]] = []
        room = 0
        for index in torch.randperm(len(parts), generator=stream(*self.seed, "parts", cycle)).tolist():
            if not layout or parts[index].bytes > room:
                layout.append([])
                room = self.window_bytes
            layout[-1].append(parts[index].name)
            room -= parts[index].bytes
        return Window(cycle, layout, 0)

    def _reading(self, window: Window) -> Callable[[], list[T]]:
        """Begin to read ``window``; what is returned waits for it, and gives its samples in their order."""
        reads = [self._readers.submit(self.parts.read, name) for name in window.parts]

        def samples() -> list[T]:
            found = [sample for read in reads for sample in read.result()]
            order = torch.randperm(len(found), generator=stream(*self.seed, "samples", window.cycle, window.number))
            return [found[index] for index in order.tolist()]

        return samples

    # --- images -------------------------------------------------------------------------------------------------
    def _look_ahead(self, count: int, rows: slice) -> None:
        """Begin to decode what `take` will be asked for next, most likely, if this window has it all."""
        next_ones = self._samples[self._offset : self._offset + count]
        if len(next_ones) == count:
            self._ahead = ((self._offset, count, rows), self._decoding(next_ones[rows]))

    def _decoding(self, samples: list[T]) -> Callable[[], Tensor]:
        """Begin to decode ``samples``; what is returned waits for them, and gives (n, 3, H, W)."""
        images = np.empty((len(samples), self.side_px, self.side_px, 3), np.uint8)

        def decode(first: int) -> None:
            for row in range(first, len(samples), self._threads):
                images[row] = self.parts.decode(samples[row])

        shares = [self._decoders.submit(decode, first) for first in range(min(self._threads, len(samples)))]

        def decoded() -> Tensor:
            for share in shares:
                share.result()
            return torch.from_numpy(images).permute(0, 3, 1, 2)

        return decoded
