"""Flags out of configuration: every field of a section is one flag, with the field's own words as its help."""

from __future__ import annotations

import dataclasses
import inspect
import os
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.config.presets import PRESETS
from dogfast.config.resolve import field_types, parse_assignment, read_toml

SECTIONS = {field.name: field.default_factory for field in dataclasses.fields(RunConfig)}


@dataclasses.dataclass(frozen=True)
class Invocation:
    """What was typed: flags by section, configuration file, assignments, and how to answer."""

    flags: dict[str, dict[str, Any]]
    config_file: Path | None
    assignments: tuple[str, ...]
    run: Path | None
    json: bool
    quiet: bool
    dry_run: bool
    extra: dict[str, Any]

    def resolve(self, base: RunConfig) -> RunConfig:
        """``base`` < ``--config`` < ``--set`` < flags. Raises UsageError naming the origin of what is wrong."""
        config = base
        if self.config_file is not None:
            config = config.with_values(read_toml(self.config_file), f"--config {self.config_file}")
        for assignment in self.assignments:
            config = config.with_values(parse_assignment(assignment), f"--set {assignment}")
        return config.with_values(self.flags, "flags")


Body = Callable[[Invocation], None]


def add_command(
    app: typer.Typer,
    name: str,
    sections: tuple[str, ...],
    body: Body,
    run: str = "",
    extra: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
    launched: bool = False,
) -> None:
    """Register ``body`` as ``name`` with the flags of ``sections``, but those of the fields ``without``.

    ``run`` is "argument" (RUN), "output" (--output RUN) or "" (no run). ``extra`` holds further parameters by name.
    ``launched``: whether the processes of `accelerate launch` share its work; any other command refuses to be several.
    """
    shared = {**_run_parameter(run), **(extra or {}), **(_SHARED if sections or run else {"json": _SHARED["json"]})}
    fields = [
        (section, item) for section in sections for item in dataclasses.fields(SECTIONS[section]) if item.name not in without
    ]
    owner = {item.name: section for section, item in fields}
    parameters = [*_plain_parameters(shared), *(_flag(section, item) for section, item in fields)]

    def command(**given: Any) -> None:
        processes = os.environ.get("WORLD_SIZE", "1")
        require(
            launched or not run or processes == "1",
            f"dogfast {name} is one process, and $WORLD_SIZE says {processes}; start it without `accelerate launch`",
        )
        flags: dict[str, dict[str, Any]] = {}
        for key, section in owner.items():
            if given[key] not in (None, []):
                flags.setdefault(section, {})[key] = tuple(given[key]) if isinstance(given[key], list) else given[key]
        body(
            Invocation(
                flags=flags,
                config_file=given.get("config"),
                assignments=tuple(given.get("assign") or ()),
                run=given.get("run"),
                json=given["json"],
                quiet=given.get("quiet", False),
                dry_run=given.get("dry_run", False),
                extra={key: given[key] for key in extra or {}},
            )
        )

    command.__signature__ = inspect.Signature(sorted(parameters, key=lambda p: p.default is not inspect.Parameter.empty))
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = body.__doc__
    app.command(name)(command)


def others(**kept: tuple[str, ...]) -> tuple[str, ...]:
    """The fields of the sections that are named but those ``kept``: what `add_command` is to leave out."""
    items = ((item.name, names) for section, names in kept.items() for item in dataclasses.fields(SECTIONS[section]))
    return tuple(name for name, names in items if name not in names)


NAMING = ("objective", "outliers", "round", "train_seed")
"""What of the training names a classifier."""

_SHARED: dict[str, tuple[Any, Any]] = {
    "config": (Path | None, typer.Option(None, "--config", help="configuration file, as a run's run.toml")),
    "assign": (list[str] | None, typer.Option(None, "--set", help="one field, SECTION.FIELD=VALUE; may be repeated")),
    "dry_run": (
        bool,
        typer.Option(False, "--dry-run", help="check what can be checked at once, print the plan, write nothing into the run"),
    ),
    "json": (bool, typer.Option(False, "--json", help="one JSON object as the last line of stdout; all else on stderr")),
    "quiet": (bool, typer.Option(False, "--quiet", help="say nothing but the result and errors")),
}


def _run_parameter(kind: str) -> dict[str, tuple[Any, Any]]:
    if kind == "argument":
        return {
            "run": (
                Path | None,
                typer.Argument(None, metavar="[RUN]", help="run folder; default $DOGFAST_RUN, else the newest under runs/"),
            )
        }
    if kind == "output":
        return {"run": (Path | None, typer.Option(None, "--output", help="run folder; default runs/CLASSES"))}
    return {}


def _plain_parameters(parameters: dict[str, tuple[Any, Any]]) -> list[inspect.Parameter]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, keyword, default=default, annotation=kind) for name, (kind, default) in parameters.items()]


def _flag(section: str, item: dataclasses.Field) -> inspect.Parameter:
    kind, word = _flag_type(field_types(SECTIONS[section])[item.name]), item.name.replace("_", "-")
    defaults = "; ".join(_defaults(section, item))
    names = [f"--{word}/--no-{word}"] if kind is bool else [f"--{word}"]
    option = typer.Option(
        None,
        *names,
        help=item.metadata["help"] + (f" [default: {defaults}]" if defaults else ""),
        show_default=False,
        rich_help_panel=section,
    )
    return inspect.Parameter(item.name, inspect.Parameter.KEYWORD_ONLY, default=option, annotation=kind | None)


def _defaults(section: str, item: dataclasses.Field) -> Iterator[str]:
    """What the field is without a word, and what the sets that have a preset start from."""
    if item.default not in (None, ()):
        yield _shown(item.default)
    for classes, fields in PRESETS.items():
        if item.name in fields.get(section, {}):
            yield f"{_shown(fields[section][item.name])} for {classes}"


def _flag_type(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType):
        return typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is tuple:
        return list[typing.get_args(annotation)[0]]
    return annotation


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
