"""Result files of several parts, each written when it is done."""

from pathlib import Path
from typing import Any

from dogfast.run import publish, read_json, to_json


def keep(file: Path, part: str, found: dict[str, Any]) -> None:
    """Write what a part found beside what the others did."""
    others = read_json(file) if file.exists() else {}
    publish(file, to_json(others | {part: found}))
