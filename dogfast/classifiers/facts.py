"""What a classifier's record must say before anything is built from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dogfast.classifiers.backbones import is_backbone, is_published
from dogfast.errors import DataError

LARGEST = 10**6
"""No number in an architecture is larger."""


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(is_number, value))


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(name, str) for name in value)


def _is_architecture(value: Any) -> bool:
    return isinstance(value, dict) and (not value or isinstance(value.get("model_type"), str)) and _is_moderate(value)


def _is_moderate(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_moderate, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int | float) or abs(value) <= LARGEST


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "backbone": (lambda v: isinstance(v, str) and is_backbone(v), "wrn-DEPTH-WIDTH, a resnet or hf:NAME"),
    "class_names": (_are_names, "a list of names"),
    "image_px": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 8, "a whole number from 8"),
    "mean": (_is_triple, "three numbers"),
    "std": (lambda v: _is_triple(v) and min(v) > 0, "three positive numbers"),
    "dropout": (lambda v: is_number(v) and 0 <= v < 1, "a number in [0, 1)"),
    "sha256": (lambda v: isinstance(v, str) and len(v) == 64, "64 hexadecimal digits"),
    "architecture": (_is_architecture, "a transformers configuration"),
    "rejection": (_is_flag, "true or false"),
    "rotations": (_is_flag, "true or false"),
}
"""Each fact the record cannot do without: its test, and its description."""

DEFAULTS: dict[str, Any] = {"architecture": {}, "rejection": False, "rotations": False}
"""Facts that earlier records do not hold, and what they meant: no transformers network, K classes, one view of an image."""

BUILT_FROM = tuple(name for name in FACTS if name != "sha256")
"""What a classifier is built from, and hands on to one that starts from it."""


def checked_facts(path: Path, facts: Any) -> dict[str, Any]:
    """``facts`` with :data:`DEFAULTS` filled in; :class:`DataError` names the fact of ``path`` that is missing or unfit."""
    if not isinstance(facts, dict):
        raise DataError(f"{path} is no training record (it holds no object); train this classifier again")
    whole = DEFAULTS | facts
    for name, (holds, description) in FACTS.items():
        if name not in whole:
            raise DataError(f"{path} lacks '{name}' ({description}); train this classifier again")
        if not holds(whole[name]):
            raise DataError(f"{path}: '{name}' is not {description}; train this classifier again")
    if is_published(whole["backbone"]) != bool(whole["architecture"]):
        raise DataError(f"{path}: 'architecture' is not that of a transformers backbone; train this classifier again")
    return whole
