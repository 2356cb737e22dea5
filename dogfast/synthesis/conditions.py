"""Conditions as they are read: checked, because people edit them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dogfast.errors import DataError
from dogfast.run import read_jsonl

FIELDS = {"cls": int, "class_name": str, "strategy": str, "anchor": str, "text": list}


def read_conditions(path: Path) -> list[dict[str, Any]]:
    """The conditions of a run; :class:`DataError` names file, line and field of what is not one."""
    try:
        conditions = read_jsonl(path)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a text of JSON lines ({error})") from error
    if not conditions:
        raise DataError(f"{path} holds no condition; run `dogfast anchors` again")
    for number, condition in enumerate(conditions, 1):
        wrong = [name for name, kind in FIELDS.items() if type(condition.get(name)) is not kind]
        if not wrong and not _is_text(condition["text"]):
            wrong = ["text"]
        if wrong:
            raise DataError(f"{path}, line {number}: {wrong[0]!r} is missing or of the wrong type")
    _refuse_twins(path, conditions)
    return conditions


def _is_text(text: list) -> bool:
    return len(text) == 1 and isinstance(text[0], list) and len(text[0]) == 2 and isinstance(text[0][0], str)


def _refuse_twins(path: Path, conditions: list[dict[str, Any]]) -> None:
    """One class and prompt twice would grow from the same seeds, so every image would be painted twice."""
    first: dict[tuple[str, str], int] = {}
    for number, condition in enumerate(conditions, 1):
        twin = first.setdefault((condition["class_name"], condition["text"][0][0]), number)
        if twin != number:
            raise DataError(f"{path}, line {number}: the same class and text as line {twin}; remove one")
