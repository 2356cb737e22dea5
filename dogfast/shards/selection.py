"""Outliers as a classifier meets them: the chosen ones of a folder, once through the ID codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dogfast.data.codec import Codec, pass_through
from dogfast.data.splits import is_test_key
from dogfast.shards.reader import Outliers, load_outliers
from dogfast.store import Place


def load_selected(folder: Place, side_px: int, codec: Codec, belongs: Callable[[dict[str, Any]], bool]) -> Outliers:
    """The outliers of ``folder`` whose facts ``belongs`` accepts, perhaps none; raises what `load_outliers` raises."""
    chosen = load_outliers(folder, side_px, belongs)
    keys = tuple(f"{facts['strategy']}/{facts['key']}" for facts in chosen.facts)
    return Outliers(pass_through(codec, chosen.images, keys), chosen.facts) if keys else chosen


def controls(facts: dict[str, Any]) -> bool:
    """Whether an ID-class image of the generator is kept for the artefact control (a fifth, by its seed) and never trains."""
    return is_test_key(str(facts["seed"]))
