"""Parquet as the hub keeps image sets: whole ones, and hostile ones, of which no more is read than is needed."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from dogfast.data import parquet
from dogfast.data.pictures import labelled, unlabelled
from dogfast.data.places import Files, open_place
from dogfast.errors import DataError, EnvironmentFault
from tests.data import made

NAMES = ["cat", "dog", "emu"]


def test_images_and_named_classes(tmp_path):
    path = made.parquet(tmp_path / "test.parquet", made.cells(8), [0, 2, 1, 0, 2, 1, 0, 2], NAMES)
    images = labelled(open_place(path), 32)
    assert images.class_names == ("cat", "dog", "emu") and images.labels.tolist() == [0, 2, 1, 0, 2, 1, 0, 2]
    assert images.keys == tuple(f"test.parquet/{row}" for row in range(8))
    for row in range(8):
        assert np.array_equal(images.images[row].permute(1, 2, 0), made.pixels(row))


def test_what_datasets_writes_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"image": [made.encoded(row) for row in range(5)], "label": [1, 0, 1, 1, 0]}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["b", "a"])})
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(rows).cast(features).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    images = labelled(open_place(tmp_path), 32)
    assert images.class_names == ("b", "a") and images.labels.tolist() == [1, 0, 1, 1, 0]
    assert np.array_equal(images.images[3].permute(1, 2, 0), made.pixels(3))


def test_shards_are_one_set(tmp_path):
    for shard in range(3):
        made.parquet(tmp_path / f"train-{shard}.parquet", made.cells(4, 10 * shard), [0, 1, 0, 1], NAMES[:2])
    images = labelled(open_place(tmp_path), 32)
    assert len(images) == 12 and images.class_names == ("cat", "dog")
    assert np.array_equal(images.images[images.keys.index("train-2.parquet/1")].permute(1, 2, 0), made.pixels(21))


def test_rows_of_any_row_group_can_be_wanted(tmp_path):
    found = open_place(made.parquet(tmp_path / "x.parquet", made.cells(10)))
    for wanted in ([0], [9], [2, 3], [0, 4, 8], list(range(10))):
        contents = dict(found.read([f"x.parquet/{row}" for row in wanted]))
        assert contents == {f"x.parquet/{row}": made.encoded(row) for row in wanted}


def test_row_groups_without_a_wanted_row_are_not_read(tmp_path, monkeypatch):
    found = open_place(made.parquet(tmp_path / "x.parquet", made.cells(10)))
    groups, read = [], pyarrow.parquet.ParquetFile.iter_batches

    def watched(self, size, row_groups, columns):
        groups.extend(row_groups)
        return read(self, size, row_groups=row_groups, columns=columns)

    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", watched)
    assert len(list(found.read(["x.parquet/4", "x.parquet/9"]))) == 2 and groups == [1, 3]


def test_few_rows_are_in_memory_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "DECODED_TOGETHER", 2)
    sizes, encoded_in = [], parquet.encoded_in
    monkeypatch.setattr(
        parquet, "encoded_in", lambda column, *given: (sizes.append(len(column)), encoded_in(column, *given))[1]
    )
    assert len(unlabelled(open_place(made.parquet(tmp_path / "x.parquet", made.cells(10))), 8)) == 10
    assert max(sizes) <= 2


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
def test_a_column_of_bytes_alone(tmp_path, kind):
    table = pyarrow.table({"id": ["a", "b"], "jpg": pyarrow.array([made.encoded(row) for row in range(2)], kind)})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    assert np.array_equal(unlabelled(open_place(tmp_path / "x.parquet"), 32).images[1].permute(1, 2, 0), made.pixels(1))


def test_classes_without_names_go_by_number_and_names_by_spelling(tmp_path):
    numbers = open_place(made.parquet(tmp_path / "n.parquet", made.cells(3), [10, 2, 10]))
    assert numbers.by_class() == {"10": ["n.parquet/0", "n.parquet/2"], "2": ["n.parquet/1"]}
    words = open_place(made.parquet(tmp_path / "w.parquet", made.cells(3), ["fox", "elk", "fox"]))
    assert list(words.by_class()) == ["elk", "fox"]


# --- what is refused --------------------------------------------------------------------------------------------
def test_a_row_that_only_names_a_file_is_refused_and_the_file_is_not_opened(tmp_path):
    (tmp_path / "secret.png").write_bytes(made.encoded(1))
    cells = [*made.cells(2), {"bytes": None, "path": str(tmp_path / "secret.png")}]
    with pytest.raises(DataError, match=r"x\.parquet: row x\.parquet/2 holds no bytes of an image"):
        unlabelled(open_place(made.parquet(tmp_path / "x.parquet", cells)), 8)


def test_an_empty_cell_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"row x\.parquet/1 holds no bytes"):
        unlabelled(open_place(made.parquet(tmp_path / "x.parquet", [made.cells(1)[0], None])), 8)


def test_a_row_of_something_else_is_named(tmp_path):
    cells = [*made.cells(4), {"bytes": b"%!PS-Adobe-3.0 EPSF-3.0", "path": None}, {"bytes": b"", "path": None}]
    with pytest.raises(DataError, match=r"2 unreadable images: 'x\.parquet/4 .*x\.parquet/5"):
        unlabelled(open_place(made.parquet(tmp_path / "x.parquet", cells)), 8)


def test_a_huge_row_is_refused_before_it_is_taken_out(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_FILE_BYTES", 2**20)
    cells = [*made.cells(1), {"bytes": bytes(2**20 + 1), "path": None}]
    with pytest.raises(DataError, match=r"row x\.parquet/1 is larger than 1 MiB"):
        unlabelled(open_place(made.parquet(tmp_path / "x.parquet", cells)), 8)


def test_a_bomb_in_a_row_is_refused(tmp_path):
    import runpy
    from pathlib import Path

    bomb = runpy.run_path(str(Path(__file__).with_name("test_files.py")))["bomb"](60_000, 60_000)
    with pytest.raises(DataError, match=r"unreadable images: 'x\.parquet/0"):
        unlabelled(open_place(made.parquet(tmp_path / "x.parquet", [{"bytes": bomb, "path": None}])), 8)


@pytest.mark.parametrize("cut", [0, 4, 200, -1, -300])
def test_a_damaged_file_is_named(tmp_path, cut):
    path = made.parquet(tmp_path / "x.parquet", made.cells(8))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"x\.parquet is no readable parquet"):
        unlabelled(open_place(path), 8)


def test_flipped_bytes_end_in_a_sentence_or_in_an_image(tmp_path):
    path = made.parquet(tmp_path / "x.parquet", made.cells(4, 0), [0, 1, 0, 1], NAMES[:2])
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), 8):
            content[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(content))
        try:
            assert len(labelled(open_place(path), 8).images[0]) == 3
        except DataError as error:
            assert "x.parquet" in str(error) and "\n" not in str(error)


def test_no_column_of_images(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "number": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"no column of encoded images; its columns: text \(string\), number \(int64\)"):
        open_place(tmp_path / "x.parquet")


def test_no_column_of_classes(tmp_path):
    found = open_place(made.parquet(tmp_path / "x.parquet", made.cells(2)))
    with pytest.raises(DataError, match="no column of classes"):
        labelled(found, 8)


@pytest.mark.parametrize("label", [-1, 7, None])
def test_a_row_without_a_class(tmp_path, label):
    found = open_place(made.parquet(tmp_path / "x.parquet", made.cells(2), [0, label], NAMES))
    with pytest.raises(DataError, match=rf"row x\.parquet/1 has no class \({label}\)"):
        labelled(found, 8)


@pytest.mark.parametrize(
    "said", ["no json", "[]", '{"info": 3}', "[" * 100_000, json.dumps({"info": {"features": {"label": {"names": [1]}}}})]
)
def test_metadata_that_is_none_names_nothing(tmp_path, said):
    table = pyarrow.parquet.read_table(made.parquet(tmp_path / "x.parquet", made.cells(2), [0, 1]))
    pyarrow.parquet.write_table(table.replace_schema_metadata({"huggingface": said}), tmp_path / "x.parquet")
    assert list(open_place(tmp_path / "x.parquet").by_class()) == ["0", "1"]


def test_more_rows_than_any_set_has(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_ROWS", 5)
    with pytest.raises(DataError, match="says it holds 6 rows, more than 5"):
        open_place(made.parquet(tmp_path / "x.parquet", made.cells(6)))


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    path = made.parquet(tmp_path / "x.parquet", made.cells(1))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(EnvironmentFault, match=r"pip install 'dogfast\[data\]'"):
        open_place(Files((path,)))
