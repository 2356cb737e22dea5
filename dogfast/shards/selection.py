"""Outliers as a classifier meets them: the chosen ones of a folder, once through the ID codec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dogfast.data.codec import Codec, pass_through
from dogfast.shards.reader import Outliers, load_outliers


def load_selected(folder: Path, side_px: int, codec: Codec, belongs: Callable[[dict[str, Any]], bool]) -> Outliers:
    """The outliers of ``folder`` whose facts ``belongs`` accepts, perhaps none; raises what `load_outliers` raises."""
    loaded = load_outliers(folder, side_px)
    rows = [row for row, facts in enumerate(loaded.facts) if belongs(facts)]
    chosen = Outliers(loaded.images[rows], [loaded.facts[row] for row in rows])
    return Outliers(pass_through(codec, chosen.images, chosen.keys), chosen.facts) if rows else chosen
