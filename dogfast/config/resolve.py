"""The configuration of a whole run: sections, TOML in and out, and what overrides what.

Order of precedence: built-in defaults < the run's own `run.toml` < `--config FILE` < `--set a.b=c` < flags.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dogfast.config.concepts import ConceptsConfig
from dogfast.config.data import DataConfig
from dogfast.config.detection import DetectionConfig
from dogfast.config.model import ModelConfig
from dogfast.config.objectives import ObjectivesConfig
from dogfast.config.synthesis import SynthesisConfig
from dogfast.config.training import TrainingConfig
from dogfast.errors import DataError, UsageError
from dogfast.text import is_utf8


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The settings of every stage, a section each, at their defaults: what a class set needs besides stands in `presets`."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    concepts: ConceptsConfig = field(default_factory=ConceptsConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    objectives: ObjectivesConfig = field(default_factory=ObjectivesConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)

    def __post_init__(self) -> None:
        """``--offline`` is for data sets too, which see only their own section."""
        if self.model.offline and self.data.hub:
            object.__setattr__(self, "data", dataclasses.replace(self.data, hub=False))

    def with_values(self, values: dict[str, dict[str, Any]], origin: str) -> RunConfig:
        """A copy in which ``values[section][field]`` replaces what was there.

        Raises :class:`UsageError` naming ``origin`` (a file or flag) for unknown sections or fields and for wrong types.
        """
        sections = {f.name: f.type for f in dataclasses.fields(self)}
        changed = {}
        for name, fields in values.items():
            if name not in sections:
                raise UsageError(f"{origin}: unknown section [{name}]; known: {', '.join(sections)}")
            if not isinstance(fields, dict):
                raise UsageError(f"{origin}: {name!r} must be a section of fields, not a value")
            section = getattr(self, name)
            changed[name] = dataclasses.replace(section, **_checked(type(section), name, fields, origin))
        return dataclasses.replace(self, **changed)

    def to_toml(self) -> str:
        """Every field of every section but those of one launch; fields whose value is None are left out."""
        lines = []
        for section in dataclasses.fields(self):
            lines.append(f"[{section.name}]")
            config = getattr(self, section.name)
            for item in dataclasses.fields(config):
                value = getattr(config, item.name)
                if value is not None and item.metadata["kept"]:
                    lines.append(f"{item.name} = {_toml_value(value)}")
            lines.append("")
        return "\n".join(lines)


SECTION_OF = {
    item.name: section.name for section in dataclasses.fields(RunConfig) for item in dataclasses.fields(section.default_factory)
}
"""The section of every field: no two sections have one of the same name."""


def field_types(section: type) -> dict[str, Any]:
    """Type of every field of a section's dataclass, annotations evaluated."""
    return typing.get_type_hints(section)


def read_toml(path: Path, what: str = "") -> dict[str, dict[str, Any]]:
    """Sections and fields of a configuration file; :class:`UsageError` names ``what`` it is (default: --config ``path``) and the line of
    what is no TOML."""
    what = what or f"--config {path}"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{what} does not exist") from error
    except (ValueError, RecursionError, OSError) as error:
        raise UsageError(f"{what} is not readable TOML: {error}") from error


def remembered_config(path: Path) -> RunConfig:
    """What the `run.toml` at ``path`` says that a run was last used with; :class:`DataError` where it is broken."""
    try:
        return RunConfig().with_values(read_toml(path, str(path)), str(path))
    except UsageError as error:
        raise DataError(f"{error}; mend the file, or put a configuration such as --config takes in its place") from error


def parse_assignment(text: str) -> dict[str, dict[str, Any]]:
    """`section.field=value` as nested values; the value is TOML, a bare string, or `default` for what the field is without a word."""
    target, equals, value = text.partition("=")
    section, dot, name = target.strip().partition(".")
    if not (equals and dot and section and name):
        raise UsageError(f"--set {text!r} is not section.field=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        parsed = value
    if parsed == "default":
        parsed = getattr(getattr(RunConfig(), section, None), name, parsed)
    return {section: {name: parsed}}


def _checked(section: type, name: str, fields: dict[str, Any], origin: str) -> dict[str, Any]:
    known = field_types(section)
    unknown = sorted(fields.keys() - known.keys())
    if unknown:
        raise UsageError(f"{origin}: unknown field {name}.{unknown[0]}; known: {', '.join(known)}")
    return {key: _coerced(value, known[key], f"{origin}: {name}.{key}") for key, value in fields.items()}


def _coerced(value: Any, annotation: Any, what: str) -> Any:
    if isinstance(annotation, types.UnionType):
        return None if value is None else _coerced(value, typing.get_args(annotation)[0], what)
    if typing.get_origin(annotation) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_coerced(item, typing.get_args(annotation)[0], what) for item in items)
    if annotation is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not annotation:
        raise UsageError(f"{what} = {value!r} must be of type {annotation.__name__}")
    if annotation is float and not math.isfinite(value):
        raise UsageError(f"{what} = {value!r} must be a finite number")
    if annotation is str and not is_utf8(value):
        raise UsageError(f"{what} = {value!r} must be UTF-8 text")
    return value


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
