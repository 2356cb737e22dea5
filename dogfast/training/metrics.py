"""The numbers of a training while it runs: always as JSON lines, and for the trackers that were asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dogfast.errors import EnvironmentFault
from dogfast.run import make_folder, publish
from dogfast.training.loop import Log
from dogfast.training.ranks import Ranks

LOG_FILE = "metrics.jsonl"


@contextmanager
def metrics_log(folder: Path, name: str, trackers: tuple[str, ...], ranks: Ranks, fields: dict[str, Any]) -> Iterator[Log]:
    """Write rows to `metrics.jsonl` of ``folder``, and to ``trackers`` through accelerate; the first process alone does.

    Rows of steps that a resumed training takes again are dropped, once it has taken the first of them. Raises :class:`EnvironmentFault` for a tracker that is not
    installed.
    """
    if ranks.index:
        yield lambda row: None
        return
    make_folder(folder)
    tracked = _open_trackers(folder, name, trackers, fields) if trackers else None
    path, begun = folder / LOG_FILE, False

    def log(row: dict[str, Any]) -> None:
        nonlocal begun
        if not begun:
            publish(path, (_line(kept) for kept in _rows(path) if kept["step"] < row["step"]))
            begun = True
        with open(path, "ab") as file:
            file.write(_line(row))
        if tracked is not None:
            tracked.log(row, step=row["step"])

    yield log
    if tracked is not None:
        tracked.end_training()


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _open_trackers(folder: Path, name: str, trackers: tuple[str, ...], fields: dict[str, Any]) -> Any:
    from accelerate import Accelerator

    missing = sorted(name for name in trackers if find_spec(name) is None)
    if missing:
        raise EnvironmentFault(f"--track {missing[0]}: it is not installed; `pip install {missing[0]}`")
    accelerator = Accelerator(log_with=list(trackers), project_dir=str(folder))
    accelerator.init_trackers(name.replace("/", "-"), {key: value for key, value in fields.items() if value is not None})
    return accelerator


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows a former launch left; a line that is cut short ends them."""
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            break
        found.append(row)
    return found
