"""Outliers as a classifier meets them: the chosen ones of a folder, once through the ID codec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dogfast.data.codec import Codec, pass_through
from dogfast.data.splits import is_test_key
from dogfast.shards.reader import Outliers, decode_chosen, load_outliers, read_records
from dogfast.store import Place


def load_selected(folder: Place, side_px: int, codec: Codec, belongs: Callable[[dict[str, Any]], bool]) -> Outliers:
    """The outliers of ``folder`` whose facts ``belongs`` accepts, perhaps none; raises what `load_outliers` raises."""
    return _recoded(load_outliers(folder, side_px, belongs), codec)


def selected_by_shard(
    folder: Place, side_px: int, codec: Codec, belongs: Callable[[dict[str, Any]], bool]
) -> Iterator[Outliers]:
    """What `load_selected` gives, a shard at a time; shards with none of them are passed over."""
    for record in read_records(folder):
        chosen = decode_chosen(folder, [record], side_px, belongs)
        if len(chosen):
            yield _recoded(chosen, codec)


def _recoded(outliers: Outliers, codec: Codec) -> Outliers:
    keys = tuple(f"{facts['strategy']}/{facts['key']}" for facts in outliers.facts)
    return Outliers(pass_through(codec, outliers.images, keys), outliers.facts) if keys else outliers


def controls(facts: dict[str, Any]) -> bool:
    """Whether an ID-class image of the generator is kept for the artefact control (a fifth, by its seed) and never trains."""
    return is_test_key(str(facts["seed"]))
