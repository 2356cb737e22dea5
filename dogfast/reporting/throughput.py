"""Throughput over time: images a second while a source was painted, from the records of its shards."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from dogfast.config.synthesis import LATENT
from dogfast.errors import DataError
from dogfast.reporting.drawing import ID_COLOUR, Tick, new_grid, path_of, png_bytes, ticks_of
from dogfast.reporting.inputs import is_number
from dogfast.run import Run, read_json
from dogfast.shards.reader import record_paths

SPANS_AT_MOST = 240
SOURCES_AT_MOST = 24
FRAME = (100.0, 60.0)


@dataclass(frozen=True)
class Painting:
    """One source. ``edges_s`` (k + 1,) and ``rates`` (k,) are a staircase of images a second over painting time.

    ``made`` says backend, device, precision and rows of its records; ``unclocked`` counts shards whose record has no seconds.
    """

    source: str
    what: str
    images: int
    shards: int
    failed: int
    painters: int
    seconds: float
    img_per_s: float
    made: tuple[str, ...]
    unclocked: int
    edges_s: np.ndarray
    rates: np.ndarray

    @property
    def top(self) -> float:
        return 1.08 * float(self.rates.max()) or 1.0

    @property
    def path(self) -> str:
        """The staircase as an SVG area in :data:`FRAME`."""
        width, height = FRAME
        xs = np.repeat(width * self.edges_s / self.edges_s[-1], 2)[1:-1]
        ys = np.repeat(height * (1 - self.rates / self.top), 2)
        return path_of([(0.0, height), *zip(xs, ys), (width, height)]) + "Z"

    @property
    def time_ticks(self) -> tuple[Tick, ...]:
        return ticks_of(0.0, float(self.edges_s[-1]), 4)

    @property
    def rate_ticks(self) -> tuple[Tick, ...]:
        return ticks_of(0.0, self.top)


def build_paintings(run: Run) -> list[Painting]:
    """Every source with committed shards, `dog` first; a record that cannot be read is passed over."""
    folders = sorted(run.store.glob("*"), key=lambda folder: (folder.name != "dog", folder.name))
    found = ((folder.name, _records(folder)) for folder in folders[:SOURCES_AT_MOST])
    return [painting_of(source, records) for source, records in found if records]


def painting_of(source: str, records: list[dict[str, Any]]) -> Painting:
    """``records`` in the order of their shards.

    Every painter (rank) has a clock of its own that counts the seconds of its shards one after the other, and a shard's
    images are spread evenly over its seconds; painters are taken to have begun together, and pauses are left out.
    """
    clocked = [record for record in records if is_number(record.get("seconds")) and record["seconds"] > 0]
    edges, rates = rates_over_time(
        [(str(record.get("rank", 0)), record["samples"], float(record["seconds"])) for record in clocked]
    )
    images = sum(record["samples"] for record in clocked)
    return Painting(
        source=source,
        what="latents" if any(record.get("kind") == LATENT for record in records) else "images",
        images=sum(record["samples"] for record in records),
        shards=len(records),
        failed=sum(record["failed"] for record in records if is_number(record.get("failed"))),
        painters=len({str(record.get("rank", 0)) for record in clocked}),
        seconds=float(edges[-1]),
        img_per_s=images / float(edges[-1]) if clocked else 0.0,
        made=tuple(sorted({_made(record) for record in records})),
        unclocked=len(records) - len(clocked),
        edges_s=edges,
        rates=rates,
    )


def rates_over_time(shards: list[tuple[str, int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Of (painter, images, seconds) the edges (k + 1,) in seconds and the images a second (k,) between them; k is 0 for none.

    A span is as long as it has to be for at most :data:`SPANS_AT_MOST` of them; no image is lost or counted twice.
    """
    clocks: dict[str, list[float]] = defaultdict(lambda: [0.0])
    painted: dict[str, list[float]] = defaultdict(lambda: [0.0])
    for painter, images, seconds in shards:
        clocks[painter].append(clocks[painter][-1] + seconds)
        painted[painter].append(painted[painter][-1] + images)
    edges = np.unique(np.concatenate([*clocks.values(), [0.0]]))
    if len(edges) > SPANS_AT_MOST + 1:
        edges = np.linspace(0.0, edges[-1], SPANS_AT_MOST + 1)
    total = sum((np.interp(edges, clocks[painter], painted[painter]) for painter in clocks), np.zeros(len(edges)))
    return edges, np.diff(total) / np.diff(edges)


def _records(folder) -> list[dict[str, Any]]:
    records = []
    for path in record_paths(folder):
        try:
            record = read_json(path)
        except DataError:
            continue
        if isinstance(record, dict) and is_number(record.get("samples")) and record["samples"] >= 0:
            records.append(record)
    return records


def _made(record: dict[str, Any]) -> str:
    words = [str(record[key])[:40] for key in ("backend", "device", "precision") if record.get(key)]
    rows = f"{record['rows']} rows" if is_number(record.get("rows")) else ""
    return ", ".join([*words, *([rows] if rows else [])])


# --- the PNG file -----------------------------------------------------------------------------------------------
def throughput_png(paintings: list[Painting]) -> bytes:
    figure, grid = new_grid(len(paintings), 1, 7.0, 1.7)
    for axes, one in zip(grid[:, 0], paintings):
        axes.stairs(one.rates, one.edges_s, fill=True, color=ID_COLOUR, alpha=0.35)
        axes.stairs(one.rates, one.edges_s, color=ID_COLOUR)
        axes.set_xlim(0, one.edges_s[-1])
        axes.set_ylim(0, one.top)
        axes.tick_params(labelsize=7)
        axes.set_ylabel(f"{one.what}/s", fontsize=8)
        axes.set_title(f"{one.source[:40]}: {one.img_per_s:.1f} {one.what} a second", fontsize=8, parse_math=False)
    figure.supxlabel("seconds of painting", fontsize=8)
    return png_bytes(figure)
