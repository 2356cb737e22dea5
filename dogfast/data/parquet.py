"""Parquet as the Hugging Face hub keeps image data sets: a column of encoded images, perhaps one of classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dogfast.data.files import MAX_FILE_BYTES
from dogfast.data.pictures import DECODED_TOGETHER, Pictures, called
from dogfast.errors import DataError, EnvironmentFault
from dogfast.text import first_line

if TYPE_CHECKING:
    import pyarrow

MAX_ROWS = 2_000_000
"""In a file; ImageNet is kept in hundreds."""
LABELS = ("label", "fine_label", "class_name", "class", "cls")
"""What the column of classes is called, first choice first."""


def open_parquet(paths: tuple[Path, ...]) -> Pictures:
    """The rows of all files, called FILE/ROW. Raises :class:`DataError` for what is no parquet of images."""
    place, names = called(paths)
    tables = {name: _Table(path, name) for path, name in names.items()}

    def read(keys: list[str]) -> Iterator[tuple[str, bytes]]:
        wanted: dict[str, set[int]] = {}
        for key in keys:
            name, _, row = key.rpartition("/")
            wanted.setdefault(name, set()).add(int(row))
        for name, rows in wanted.items():
            yield from tables[name].images(rows)

    def by_class() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for table in tables.values():
            for name, keys in table.classes().items():
                found.setdefault(name, []).extend(keys)
        return found

    return Pictures(place, [key for table in tables.values() for key in table.keys], by_class, read)


class _Table:
    """One parquet file; of its images no more than `DECODED_TOGETHER` are in memory at once."""

    def __init__(self, path: Path, name: str):
        library = _library()
        self.path, self.name = path, name
        with _told(path):
            self.file = library.ParquetFile(path)
            self.schema = self.file.schema_arrow
            self.rows = self.file.metadata.num_rows
        self.column = image_column(self.schema, str(path))
        if self.rows > MAX_ROWS:
            raise DataError(f"{path} says it holds {self.rows:,} rows, more than {MAX_ROWS:,}; divide it")

    @property
    def keys(self) -> list[str]:
        return [f"{self.name}/{row}" for row in range(self.rows)]

    def images(self, rows: set[int]) -> Iterator[tuple[str, bytes]]:
        """Key and bytes of ``rows``, row group by row group."""
        with _told(self.path):
            first = 0
            for group in range(self.file.num_row_groups):
                count = self.file.metadata.row_group(group).num_rows
                if not rows.isdisjoint(range(first, first + count)):
                    yield from self._group(group, first, rows)
                first += count

    def _group(self, group: int, first: int, rows: set[int]) -> Iterator[tuple[str, bytes]]:
        for batch in self.file.iter_batches(DECODED_TOGETHER, row_groups=[group], columns=[self.column]):
            here = [row for row in range(first, first + batch.num_rows) if row in rows]
            keys = [f"{self.name}/{row}" for row in here]
            yield from encoded_in(batch.column(0), [row - first for row in here], keys, str(self.path))
            first += batch.num_rows

    def classes(self) -> dict[str, list[str]]:
        """Keys by class, in label order; of a column of numbers without names, by the number in decimal digits."""
        column = next((name for name in LABELS if name in self.schema.names), None)
        if column is None:
            raise DataError(f"{self.path} has no column of classes ({', '.join(LABELS)}); its columns: {_columns(self.schema)}")
        with _told(self.path):
            labels = self.file.read(columns=[column]).column(0).to_pylist()
        return by_label(labels, class_label_names(self.schema, column), self.keys, str(self.path))


def image_column(schema: pyarrow.Schema, place: str) -> str:
    """The column of encoded images: binary, or a struct with binary `bytes`, as `datasets` stores an Image."""
    import pyarrow.types as types

    def is_image(kind: pyarrow.DataType) -> bool:
        if types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and is_image(kind.field("bytes").type)
        return types.is_binary(kind) or types.is_large_binary(kind)

    column = next((field.name for field in schema if is_image(field.type)), None)
    if column is None:
        raise DataError(f"{place} has no column of encoded images; its columns: {_columns(schema)}")
    return column


def encoded_in(column: pyarrow.Array, rows: list[int], keys: list[str], place: str) -> Iterator[tuple[str, bytes]]:
    """``keys`` with the bytes at ``rows`` of an image column; a row without bytes, or with too many, is refused.

    A path beside them is never opened.
    """
    import pyarrow.compute as compute
    import pyarrow.types as types

    cells = compute.struct_field(column, "bytes") if types.is_struct(column.type) else column
    sizes = compute.binary_length(cells).to_pylist()
    for row, key in zip(rows, keys):
        if sizes[row] is None:
            raise DataError(f"{place}: row {key} holds no bytes of an image; store the images in the file, not their paths")
        if sizes[row] > MAX_FILE_BYTES:
            raise DataError(f"{place}: row {key} is larger than {MAX_FILE_BYTES >> 20} MiB; replace or remove it")
        yield key, cells[row].as_py()


def by_label(labels: list[Any], names: list[str], keys: list[str], place: str) -> dict[str, list[str]]:
    """``keys`` by class: by ``names`` where labels are their numbers, else by what the labels are. All of ``names`` are there."""
    known = {number: name for number, name in enumerate(names)}
    found: dict[str, list[str]] = {name: [] for name in names}
    for key, label in zip(keys, labels, strict=True):
        name = known.get(label) if names else label
        if type(name) not in (str, int) or name == -1:
            raise DataError(f"{place}: row {key} has no class ({label!r}); a test part without labels is of no use here")
        found.setdefault(str(name), []).append(key)
    return found if names else dict(sorted(found.items()))


def class_label_names(schema: pyarrow.Schema, column: str) -> list[str]:
    """The names of ``column``'s numbers, as `datasets` writes them into the file; none where it did not."""
    try:
        said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = said["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _columns(schema: pyarrow.Schema) -> str:
    return ", ".join(f"{field.name} ({str(field.type)[:40]})" for field in schema) or "none"


def _library() -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise EnvironmentFault("parquet files need pyarrow; pip install 'dogfast[data]'") from error
    return pyarrow.parquet


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What pyarrow raises for a damaged file, as one sentence."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path} is no readable parquet ({first_line(error)}); copy or write it again") from error
