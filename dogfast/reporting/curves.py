"""Training curves: every loss of every classifier over its steps, from what training logged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dogfast.reporting.drawing import ID_COLOUR, Tick, new_grid, number, path_of, png_bytes, thinned, ticks_of
from dogfast.reporting.inputs import display_order, is_number
from dogfast.run import Run, read_json

FRAME = (100.0, 60.0)
TOLERANCE = 0.3
"""Drawing units that a line may lie off the exact one."""
CLASSIFIERS_AT_MOST, SERIES_AT_MOST = 24, 8
ROWS_AT_MOST = 200_000
PNG_ROWS = 12
NO_CURVE = ("step", "epoch")
LEARNING_RATE = "lr"


@dataclass(frozen=True)
class Series:
    """One logged number; ``steps`` (k,) and ``values`` (k,)."""

    name: str
    steps: np.ndarray
    values: np.ndarray

    @property
    def first(self) -> str:
        return number(float(self.values[0]))

    @property
    def last(self) -> str:
        return number(float(self.values[-1]))

    @property
    def low(self) -> str:
        return number(float(self.values.min()))

    @property
    def high(self) -> str:
        return number(float(self.values.max()))

    @property
    def ticks(self) -> tuple[Tick, ...]:
        return ticks_of(0.0, float(self.steps[-1]), 6)

    @property
    def path(self) -> str:
        """A line in :data:`FRAME` from step 0 to the last, the lowest value at the bottom."""
        width, height = FRAME
        spread = float(np.ptp(self.values)) or 1.0
        ys = height * (0.97 - 0.94 * (self.values - self.values.min()) / spread)
        return path_of(thinned(np.stack([width * self.steps / self.steps[-1], ys], axis=1), TOLERANCE))


@dataclass(frozen=True)
class Training:
    """One classifier: what `train.json` says, each of which may be absent, and its curves over ``unit``."""

    name: str
    epochs: int
    seconds: float | None
    img_per_s: float | None
    skipped: int
    unit: str
    series: tuple[Series, ...]


def read_trainings(run: Run) -> list[Training]:
    """Every trained classifier that is found, the baseline first. Raises :class:`DataError` for a `train.json` that is not JSON."""
    found = sorted((run.root / "classifiers").glob("*/train.json"), key=lambda path: display_order(path.parent.name))
    return [_training(path) for path in found[:CLASSIFIERS_AT_MOST]]


def _training(path: Path) -> Training:
    record = read_json(path)
    record = record if isinstance(record, dict) else {}
    history = (
        [row for row in record.get("history") or () if isinstance(row, dict)] if isinstance(record.get("history"), list) else []
    )
    logged, unit = _logged(path.parent / "metrics.jsonl"), "steps"
    if not logged:
        logged, unit = [{"step": epoch, **row} for epoch, row in enumerate(history, 1)], "epochs"
    return Training(
        name=path.parent.name,
        epochs=len(history),
        seconds=_number(record, "seconds"),
        img_per_s=_number(record, "img_per_s"),
        skipped=int(_number(record, "skipped_steps") or 0),
        unit=unit,
        series=tuple(series_of(logged)[:SERIES_AT_MOST]),
    )


def _number(record: dict[str, Any], key: str) -> float | None:
    return float(record[key]) if is_number(record.get(key)) else None


def _logged(path: Path) -> list[dict[str, Any]]:
    """Rows with a step; a line that is cut short ends them, for training may have been killed while it wrote."""
    rows: list[dict[str, Any]] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                row = json.loads(line)
                if not isinstance(row, dict) or len(rows) == ROWS_AT_MOST:
                    break
                rows.append(row)
    except (OSError, ValueError, RecursionError):
        pass
    return rows


def series_of(rows: list[dict[str, Any]]) -> list[Series]:
    """A series a name, losses first, of the rows with a step above 0 that hold a finite number for it."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        step = row.get("step")
        if is_number(step) and step > 0:
            for name, value in row.items():
                if name not in NO_CURVE and is_number(value):
                    points.setdefault(name, []).append((float(step), float(value)))
    names = sorted(points, key=lambda name: name == LEARNING_RATE)
    return [Series(name, *np.array(sorted(points[name])).T) for name in names]


# --- the PNG file -----------------------------------------------------------------------------------------------
def curves_png(trainings: list[Training]) -> bytes:
    """A row a classifier, a column a logged number but the learning rate, which the page has."""
    shown = [(t, [series for series in t.series if series.name != LEARNING_RATE]) for t in trainings if t.series][:PNG_ROWS]
    columns = max(1, *(len(series) for _, series in shown))
    figure, grid = new_grid(len(shown), columns, 2.6, 1.6)
    for row, (training, found) in zip(grid, shown):
        for axes, series in zip(row, found):
            axes.plot(series.steps, series.values, color=ID_COLOUR, linewidth=1.2)
            axes.set_title(f"{training.name[:24]}: {series.name[:24]}", fontsize=7, parse_math=False)
            axes.tick_params(labelsize=6)
        for axes in row[len(found) :]:
            axes.set_axis_off()
    figure.supxlabel(" or ".join(dict.fromkeys(training.unit for training, _ in shown)), fontsize=8)
    return png_bytes(figure)
