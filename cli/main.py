"""The `dogfast` command: one file a command, one exit code a kind of error, no traceback for a user's mistake."""

from __future__ import annotations

import sys

import typer

from dogfast.cli import anchors, build_engines, demo, doctor, evaluate, generate, report, shards, train
from dogfast.errors import INTERRUPTED, DogfastError

app = typer.Typer(
    name="dogfast",
    help="Paint outliers with Stable Diffusion and teach a classifier to refuse what it has never seen.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (doctor, build_engines, anchors, generate, shards, train, evaluate, report, demo):
    command.register(app)


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(_exit_code())


def _exit_code() -> int:
    from typer.exceptions import TyperException

    try:
        return app(standalone_mode=False) or 0
    except DogfastError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    except TyperException as error:
        error.show() if hasattr(error, "show") else print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)


if __name__ == "__main__":
    main()
