"""Image data sets of the Hugging Face hub, through the `datasets` library: parquet only, no code of others, nothing unpickled."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from dogfast.data.parquet import by_label, encoded_in
from dogfast.data.pictures import DECODED_TOGETHER, Pictures
from dogfast.data.sets import Hub
from dogfast.errors import DataError, EnvironmentFault
from dogfast.text import first_line


@lru_cache
def check_hub(name: str, hub: Hub) -> None:
    """Raise :class:`DataError` where the hub (or its cache here) does not answer for the set ``name``; no image is asked for."""
    datasets = _library(name)
    try:
        datasets.load_dataset_builder(hub.repo, hub.config)
    except Exception as error:  # the hub, its transport and the file system have no common base
        raise _unread(name, hub, error) from error


def open_hub(name: str, hub: Hub, split: str) -> Pictures:
    """The rows of ``split``, called SPLIT/ROW, which `datasets` downloads into its cache and maps into memory."""
    datasets = _library(name)
    try:
        rows = datasets.load_dataset(hub.repo, hub.config, split=split)
        found, place = rows.column_names, f"{hub.repo} ({split})"
        rows = rows.cast_column(hub.image, datasets.Image(decode=False)).with_format("arrow")
    except Exception as error:  # as above
        raise _unread(name, hub, error) from error
    _require_column(hub.image, found, place)
    keys = [f"{split}/{row}" for row in range(len(rows))]

    def read(wanted: list[str]) -> Iterator[tuple[str, bytes]]:
        numbers = sorted(int(key.rpartition("/")[2]) for key in wanted)
        for first in range(0, len(numbers), DECODED_TOGETHER):
            together = numbers[first : first + DECODED_TOGETHER]
            column = rows[together].column(hub.image).combine_chunks()
            yield from encoded_in(column, list(range(len(together))), [keys[row] for row in together], place)

    def by_class() -> dict[str, list[str]]:
        _require_column(hub.label, found, place)
        labels = rows.select_columns([hub.label])[:].column(0).to_pylist()
        return by_label(labels, getattr(rows.features[hub.label], "names", []), keys, place)

    return Pictures(place, keys, by_class, read)


def _require_column(column: str, found: list[str], place: str) -> None:
    if column not in found:
        raise DataError(f"{place} of the Hugging Face hub has no column {column!r} any more; its columns: {', '.join(found)}")


def _unread(name: str, hub: Hub, error: Exception) -> DataError:
    return DataError(
        f"{name} is not here, and {hub.repo} of the Hugging Face hub cannot be read ({first_line(error).rstrip('.')}); go online, "
        f"log in with `hf auth login` where its terms ask for it, or say where it lies with --data {name}=PATH"
    )


def _library(name: str) -> Any:
    """`datasets`, without its advice to its own users; its bars are for people, who may wait for gigabytes."""
    try:
        import datasets
        import huggingface_hub
    except ImportError as error:
        raise EnvironmentFault(
            f"{name} is not here, and asking the Hugging Face hub needs `datasets`; pip install 'dogfast[data]', or say where "
            f"it lies with --data {name}=PATH"
        ) from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    huggingface_hub.logging.set_verbosity_error()
    return datasets
