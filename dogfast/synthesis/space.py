"""Does what is left to paint fit the disk? Asked before anything is painted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.config.synthesis import IMAGE
from dogfast.diffusion.load import Pipeline
from dogfast.environment import free_bytes
from dogfast.errors import EnvironmentFault
from dogfast.shards.format import JPEG_ABOVE_PX
from dogfast.store import Place
from dogfast.synthesis.job import side_in_latents

MARGIN = 1.1
TAR_BLOCKS = 2560
"""Bytes of headers, json and padding around one image."""


def require_space(folder: Place, images: int, bytes_each: float) -> None:
    """Raise :class:`EnvironmentFault` where ``images`` do not fit the disk of ``folder``; what a store has left nobody knows."""
    if not isinstance(folder, Path):
        return
    wanted, free = int(MARGIN * images * bytes_each), free_bytes(folder)
    if wanted > free:
        raise EnvironmentFault(
            f"{images} outliers take about {wanted / 2**20:,.0f} MiB, and {folder} has {free / 2**20:,.0f} MiB left; free some, "
            "lower --m, or choose another --output or --store"
        )


def bytes_of_one(config: RunConfig, pipeline: Pipeline, records: list[dict[str, Any]]) -> float:
    """Bytes of a sample: the mean of those of ``records``, else a guess by what is stored."""
    done = sum(record["samples"] for record in records)
    if done:
        return sum(record["bytes"] for record in records) / done
    if config.synthesis.output_kind != IMAGE:
        return 2 * pipeline.latent_channels * side_in_latents(config.synthesis.resolution, pipeline) ** 2 + TAR_BLOCKS
    side = config.data.image_px
    return side * side * (1 if side > JPEG_ABOVE_PX else 2) + TAR_BLOCKS
