"""The `dogfast` command: one file a command, one exit code a kind of error, no traceback for a user's mistake."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import typer

from dogfast.cli import (
    anchors,
    build_engines,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    generate,
    refine,
    report,
    score,
    shards,
    train,
)
from dogfast.errors import DogfastError
from dogfast.store import ENDING

app = typer.Typer(
    name="dogfast",
    help="Paint outliers with Stable Diffusion and teach a classifier to refuse what it has never seen.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    doctor,
    build_engines,
    anchors,
    generate,
    shards,
    train,
    evaluate,
    score,
    export,
    compare,
    refine,
    report,
    demo,
):
    command.register(app)


ECHO_S = 1.0
"""A launcher hands on the signal that a terminal sent to all: within this time it is the same one."""

GRACE_S = 5.0
"""How long the others of a launch wait to be ended with the first."""


class Stopped(BaseException):
    """Somebody, a scheduler or a closed terminal asks to end. No KeyboardInterrupt, which typer swallows."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


def main() -> None:
    """Run the command line and exit with its code."""
    with _stopping():
        sys.exit(_exit_code())


@contextmanager
def _stopping() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise `Stopped`, unless whoever started us had them ignored (nohup).

    What is painted is committed on the way out; a second signal does not wait for that.
    """
    first_s: list[float] = []
    ENDING.clear()

    def stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not first_s:
            first_s.append(now)
            ENDING.set()
            raise Stopped(number)
        if now - first_s[0] > ECHO_S:
            os._exit(128 + number)

    wanted = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in wanted}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code() -> int:
    from typer.exceptions import TyperException

    try:
        with _first_speaks():
            return app(standalone_mode=False) or 0
    except DogfastError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except Stopped as stop:
        with suppress(OSError):  # the terminal may be the one that was closed
            if _is_first():
                print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 128 + stop.number
    except TyperException as error:
        error.show() if hasattr(error, "show") else print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)


@contextmanager
def _first_speaks() -> Iterator[None]:
    """Of processes that a launcher started together the first says what went wrong in all; the others' errors wait for it."""
    try:
        yield
    except Exception:
        if not _is_first():
            time.sleep(GRACE_S)
        raise


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


if __name__ == "__main__":
    main()
