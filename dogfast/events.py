"""One stream of events. Stages say what happens; sinks turn it into a bar, plain lines or a diary.

An event is a name and fields of plain types. Rates are images a second, times are seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

Sink = Callable[[str, dict[str, Any]], None]
PLAIN_INTERVAL_S = 30.0
RATE_WINDOW_S = 10.0


class Events:
    """Hands every event to every sink; the clock of durations is monotonic.

    A sink that cannot write any more (a closed terminal, a full disk) never stops the work.
    """

    def __init__(self, *sinks: Sink):
        self.sinks = sinks

    def __call__(self, event: str, **fields: Any) -> None:
        for sink in self.sinks:
            with suppress(OSError):
                sink(event, fields)

    def say(self, text: str) -> None:
        """A sentence for people: an automatic choice and its reason, a warning, a stage that is skipped."""
        self("note", text=text)

    @contextmanager
    def progress(self, task: str, total: int, unit: str = "img") -> Iterator[Callable[[int], None]]:
        """Announce ``total`` units of ``task``; the caller is given ``advance(n)``."""
        meter = _Meter(total)
        self("progress_started", task=task, total=total, unit=unit)

        def advance(n: int) -> None:
            self("progress", task=task, unit=unit, **meter.advance(n))

        try:
            yield advance
        finally:
            self("progress_finished", task=task, unit=unit, **meter.state())


class _Meter:
    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.started = time.monotonic()
        self.recent: deque[tuple[float, int]] = deque([(self.started, 0)])

    def advance(self, n: int) -> dict[str, Any]:
        self.done += n
        now = time.monotonic()
        self.recent.append((now, self.done))
        while len(self.recent) > 2 and now - self.recent[0][0] > RATE_WINDOW_S:
            self.recent.popleft()
        return self.state()

    def state(self) -> dict[str, Any]:
        now = time.monotonic()
        (first_s, first), (last_s, last) = self.recent[0], self.recent[-1]
        rate = (last - first) / max(last_s - first_s, 1e-9) if last > first else 0.0
        seconds = now - self.started
        left = max(self.total - self.done, 0) / rate if rate > 0 else None
        return {
            "done": self.done,
            "total": self.total,
            "per_s": rate,
            "average_per_s": self.done / max(seconds, 1e-9),
            "left_s": left,
            "seconds": seconds,
        }


# --- sinks ------------------------------------------------------------------------------------------------------
def diary(path: Path) -> Sink:
    """Append events as JSON lines, for people; no state is ever read from it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a", buffering=1)
    counter = iter(range(sys.maxsize))

    def sink(event: str, fields: dict[str, Any]) -> None:
        head = {"v": 1, "seq": next(counter), "mono_s": round(time.monotonic(), 3), "utc": _utc(), "event": event}
        file.write(json.dumps(head | fields, default=str) + "\n")

    return sink


def plain_lines(stream: TextIO) -> Sink:
    """`name=value` lines: notes at once, progress every 30 seconds and at its end."""
    last_line: dict[str, float] = {}

    def sink(event: str, fields: dict[str, Any]) -> None:
        if event == "note":
            print(fields["text"], file=stream, flush=True)
        elif event == "progress_started":
            last_line[fields["task"]] = time.monotonic()
        elif event == "progress" and time.monotonic() - last_line[fields["task"]] >= PLAIN_INTERVAL_S:
            last_line[fields["task"]] = time.monotonic()
            print(_progress_line(fields), file=stream, flush=True)
        elif event == "progress_finished":
            print(_progress_line(fields), file=stream, flush=True)

    return sink


def terminal(stream: TextIO) -> Sink:
    """A live bar with rate and time left, by rich; notes scroll above it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=stream, highlight=False, emoji=False)
    state: dict[str, Any] = {}

    def sink(event: str, fields: dict[str, Any]) -> None:
        if event == "note":
            console.print(fields["text"], markup=False)
        elif event == "progress_started":
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}  {task.fields[rate]}  left"),
                TimeRemainingColumn(),
                console=console,
            )
            bar.start()
            state["bar"], state["task"] = bar, bar.add_task(fields["task"], total=fields["total"], rate="")
        elif event == "progress":
            state["bar"].update(state["task"], completed=fields["done"], rate=f"{fields['per_s']:,.1f} {fields['unit']}/s")
        elif event == "progress_finished":
            state["bar"].stop()

    return sink


def for_stream(stream: TextIO) -> Sink:
    """A bar on a terminal, plain lines elsewhere."""
    return terminal(stream) if stream.isatty() else plain_lines(stream)


def _progress_line(fields: dict[str, Any]) -> str:
    left = "?" if fields["left_s"] is None else f"{fields['left_s']:.0f}s"
    return (
        f"{fields['task']} done={fields['done']}/{fields['total']} {fields['unit']}_per_s={fields['per_s']:.1f} "
        f"average={fields['average_per_s']:.1f} left={left} seconds={fields['seconds']:.1f}"
    )


def _utc() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
