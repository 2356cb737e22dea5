"""One configuration field: its default, its one line of help, and whether it is part of what a result *is*."""

from __future__ import annotations

import dataclasses
from typing import Any

from dogfast.errors import UsageError


def option(default: Any, help: str, *, identity: bool = True, kept: bool = True) -> Any:
    """A field of a stage's configuration.

    ``identity=False`` marks what may change between two commands on one run (where data lies, how many workers,
    how many images): it stays out of fingerprints. ``kept=False`` marks what holds for one launch only: the run does not
    remember it.
    """
    return dataclasses.field(default=default, metadata={"help": help, "identity": identity, "kept": kept})


def identity(config: Any) -> dict[str, Any]:
    """The fields of ``config`` that decide its result, by name, in plain JSON types."""
    return {
        field.name: list(value) if isinstance(value := getattr(config, field.name), tuple) else value
        for field in dataclasses.fields(config)
        if field.metadata["identity"]
    }


def require(holds: bool, message: str) -> None:
    """Raise :class:`UsageError` with ``message`` unless ``holds``."""
    if not holds:
        raise UsageError(message)


def around_a_word(prompt: str, flag: str) -> None:
    """Raise :class:`UsageError` unless ``prompt`` has one place for a word."""
    marks = [prompt.count(mark) for mark in ("{}", "{", "}")]
    require(marks == [1, 1, 1], f"{flag} {prompt!r} must hold {{}} exactly once and no other brace")


def one_of(value: str, known: tuple[str, ...], flag: str) -> None:
    require(value in known, f"{flag} {value!r} is unknown; choose one of: {', '.join(known)}")
