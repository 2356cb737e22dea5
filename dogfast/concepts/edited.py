"""Anchors that a person edited: `--anchors FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dogfast.data.nouns import folded
from dogfast.errors import DataError, UsageError
from dogfast.run import read_jsonl
from dogfast.text import is_utf8


def read_edited(path: Path, class_names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Anchors of ``path``: a JSON object a line with `class_name` and `word`; other fields are kept as they are.

    Raises :class:`UsageError` when there is no such file, :class:`DataError` naming file and line of what is no anchor, and
    classes that would have none.
    """
    if not path.is_file():
        raise UsageError(f"--anchors {str(path)!r} is no file; give an edited concepts/anchors.jsonl")
    labels = {folded(name): label for label, name in enumerate(class_names)}
    anchors, seen = [], set()
    for number, row in enumerate(read_jsonl(path), 1):
        word, name = row.get("word"), row.get("class_name")
        if not (isinstance(word, str) and word.strip() and is_utf8(word)):
            raise DataError(f"--anchors {path}, anchor {number}: 'word' is missing or no text")
        if not isinstance(name, str) or folded(name) not in labels:
            raise DataError(
                f"--anchors {path}, anchor {number}: {name!r} is none of the classes (--classes) that the run is of"
            )
        owner = labels[folded(name)]
        if (owner, folded(word)) in seen:
            raise DataError(f"--anchors {path}, anchor {number}: {word!r} stands twice for {name!r}; remove one")
        seen.add((owner, folded(word)))
        anchors.append(row | {"owner": owner, "class_name": class_names[owner], "word": word, "kept": True})
    bare = [name for label, name in enumerate(class_names) if label not in {owner for owner, _ in seen}]
    if bare:
        raise DataError(f"--anchors {path} has no anchor for {', '.join(map(repr, bare[:5]))}")
    return sorted(anchors, key=lambda anchor: anchor["owner"])
