"""Conditions as they are read: checked, because people edit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dogfast.errors import DataError
from dogfast.run import read_jsonl
from dogfast.text import is_utf8

FIELDS = {"cls": int, "class_name": str, "strategy": str, "anchor": str, "text": list}


def read_conditions(path: Path, strategy: str) -> list[dict[str, Any]]:
    """The conditions of ``strategy`` in a run; :class:`DataError` names file, line and field of what is not one."""
    conditions = read_jsonl(path)
    if not conditions:
        raise DataError(f"{path} holds no condition; run `dogfast anchors` again")
    for number, condition in enumerate(conditions, 1):
        wrong = [name for name, kind in FIELDS.items() if type(condition.get(name)) is not kind]
        wrong += [name for name in ("class_name", "strategy", "anchor") if not wrong and not is_utf8(condition[name])]
        if not wrong and not _is_text(condition["text"]):
            wrong = ["text"]
        if wrong:
            raise DataError(f"{path}, line {number}: {wrong[0]!r} is missing or of the wrong type")
    _refuse_twins(path, conditions)
    chosen = [condition for condition in conditions if condition["strategy"] == strategy]
    if not chosen:
        raise DataError(f"{path} holds no condition of --strategy {strategy}; remove it and run `dogfast anchors` again")
    return chosen


def _is_text(text: list) -> bool:
    if len(text) != 1 or not isinstance(text[0], list) or len(text[0]) != 2:
        return False
    return isinstance(text[0][0], str) and is_utf8(text[0][0])


def _refuse_twins(path: Path, conditions: list[dict[str, Any]]) -> None:
    """One class and prompt twice in a strategy would grow from the same seeds, so every image would be painted twice."""
    first: dict[tuple[str, str, str], int] = {}
    for number, condition in enumerate(conditions, 1):
        twin = first.setdefault((condition["strategy"], condition["class_name"], condition["text"][0][0]), number)
        if twin != number:
            raise DataError(f"{path}, line {number}: the same class and text as line {twin}; remove one")
