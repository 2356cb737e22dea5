"""What the charts share: colours that colour-blind people tell apart, SVG paths, round axis values, PNG files."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ID_COLOUR, OOD_COLOUR, OTHER_COLOUR = "#0072B2", "#D55E00", "#6B6B6B"
"""Okabe and Ito's blue and vermilion, and a grey; no chart tells two things apart by colour alone."""


DPI = 110


@dataclass(frozen=True)
class Tick:
    """``at``: percent of an axis."""

    at: float
    text: str


def path_of(points: Iterable[tuple[float, float]]) -> str:
    """An SVG path through ``points``, to a tenth of a unit."""
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def ticks_of(low: float, high: float, start: float = 0.0) -> tuple[Tick, ...]:
    """Round values between ``low`` and ``high``; ``start`` percent are left free at both ends for their texts."""
    marks = ((100 * (value - low) / (high - low), value) for value in round_values(low, high))
    return tuple(Tick(round(at, 1), number(value)) for at, value in marks if start <= at <= 100 - start)


def round_values(low: float, high: float) -> list[float]:
    """Two to five multiples of 1, 2 or 5 times a power of ten; ``low`` < ``high``."""
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def number(value: float) -> str:
    """Three digits, or all of a large whole number: 0.0123, 1,250."""
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", "−")


def thinned(points: np.ndarray, tolerance: float) -> np.ndarray:
    """The fewest of a curve's ``points`` (k, 2), in turn, from which no point left out lies farther than ``tolerance``.

    Ramer, Douglas and Peucker: the farthest point from the chord stays, and both halves are asked again.
    """
    keep, open_parts = {0, len(points) - 1}, [(0, len(points) - 1)]
    while open_parts:
        first, last = open_parts.pop()
        if last - first < 2:
            continue
        chord, away = points[last] - points[first], points[first + 1 : last] - points[first]
        along = np.clip(away @ chord / max(float(chord @ chord), 1e-12), 0, 1)
        distances = np.linalg.norm(away - along[:, None] * chord, axis=1)
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            keep.add(middle)
            open_parts += [(first, middle), (middle, last)]
    return points[sorted(keep)]


# --- PNG files --------------------------------------------------------------------------------------------------
def new_figure(width: float, height: float):
    """A figure of ``width`` by ``height`` inches that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_grid(rows: int, columns: int, width: float, height: float):
    """A figure of ``rows`` by ``columns`` panels of ``width`` by ``height`` inches each, their titles and ticks included.

    Margins are fixed: to search for them, as `new_figure` does, takes longer than to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (columns * width + 0.5, rows * height + 0.9)
    figure = Figure(figsize=size, dpi=DPI)
    FigureCanvasAgg(figure)
    edges = {"left": 0.55 / size[0], "right": 1 - 0.15 / size[0], "bottom": 0.55 / size[1], "top": 1 - 0.6 / size[1]}
    gaps = {"wspace": 0.35 / (width - 0.35), "hspace": 0.5 / (height - 0.5)}
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=edges | gaps)


def png_bytes(figure) -> bytes:
    """Render ``figure``; a glyph the font lacks is drawn as a box, without a warning."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(file, format="png")
    return file.getvalue()
