"""Conditions as they are read: checked, because people edit them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dogfast.errors import DataError
from dogfast.run import read_jsonl
from dogfast.synthesis.resolver import painted_from
from dogfast.text import is_utf8

FIELDS = {"cls": int, "class_name": str, "strategy": str, "anchor": str, "text": list}
SHARED = ("start_t", "guidance_scale")
"""What all conditions of a strategy have in common: rows of a batch take the same steps."""
LAST_T = 999


def read_conditions(path: Path, strategy: str) -> list[dict[str, Any]]:
    """The conditions of ``strategy`` in a run; :class:`DataError` names file, line and field of what is not one."""
    conditions = read_jsonl(path)
    if not conditions:
        raise DataError(f"{path} holds no condition; run `dogfast anchors` again")
    for number, condition in enumerate(conditions, 1):
        wrong = [name for name, kind in FIELDS.items() if type(condition.get(name)) is not kind]
        wrong += [name for name in ("class_name", "strategy", "anchor") if not wrong and not is_utf8(condition[name])]
        wrong += [name for name, holds in CHECKS.items() if not wrong and name in condition and not holds(condition[name])]
        wrong += ["start_t"] if not wrong and ("start" in condition) != ("start_t" in condition) else []
        if wrong:
            raise DataError(f"{path}, line {number}: {wrong[0]!r} is missing or of the wrong type")
    _refuse_twins(path, conditions)
    chosen = [condition for condition in conditions if condition["strategy"] == strategy]
    if not chosen:
        raise DataError(f"{path} holds no condition of --strategy {strategy}; {_remedy(strategy)}")
    for name in SHARED:
        if len({condition.get(name) for condition in chosen}) > 1:
            raise DataError(f"{path}: the conditions of {strategy} differ in {name!r}; give all of them the same")
    return chosen


def _remedy(strategy: str) -> str:
    if strategy == "dog":
        return "remove it and run `dogfast anchors` again"
    return "edited --anchors have no other strategies than dog and id-control; else remove it and run `dogfast anchors` again"


def _is_text(text: Any) -> bool:
    return _is_weighted(text, lambda ref: _is_row(ref) if isinstance(ref, dict) else isinstance(ref, str) and is_utf8(ref))


def _is_start(start: Any) -> bool:
    return _is_weighted(start, lambda key: isinstance(key, str) and is_utf8(key))


def _is_weighted(parts: Any, is_ref: Callable[[Any], bool]) -> bool:
    return (
        isinstance(parts, list)
        and bool(parts)
        and all(isinstance(part, list) and len(part) == 2 and is_ref(part[0]) and _is_number(part[1]) for part in parts)
    )


def _is_row(ref: dict[str, Any]) -> bool:
    return ref.keys() == {"table", "row"} and TABLE_NAME.fullmatch(str(ref["table"])) is not None and _is_index(ref["row"])


def _is_index(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


TABLE_NAME = re.compile(r"[a-z][a-z0-9-]*")
CHECKS: dict[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "text_noise": lambda value: _is_number(value) and value >= 0,
    "start": _is_start,
    "start_t": lambda value: _is_index(value) and 0 < value <= LAST_T,
    "guidance_scale": _is_number,
}


def _refuse_twins(path: Path, conditions: list[dict[str, Any]]) -> None:
    """One class and source twice in a strategy would grow from the same seeds, so every image would be painted twice."""
    first: dict[tuple[str, str, str], int] = {}
    for number, condition in enumerate(conditions, 1):
        twin = first.setdefault((condition["strategy"], condition["class_name"], painted_from(condition)), number)
        if twin != number:
            raise DataError(f"{path}, line {number}: the same class and text as line {twin}; remove one")
