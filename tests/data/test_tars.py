"""Tars of images: shards of a set, and WebDataset's samples with their class beside them."""

import json

import numpy as np
import pytest

from dogfast.data import files
from dogfast.data.pictures import labelled, unlabelled
from dogfast.data.places import open_place
from dogfast.errors import DataError
from tests.data import made


def samples(classes, start=0, sidecar="cls"):
    """Images beside what ``sidecar`` says of their class."""
    found = {}
    for row, name in enumerate(classes, start):
        said = json.dumps(name) if sidecar == "json" else str(name)
        found |= {f"{row:05d}.png": made.encoded(row), f"{row:05d}.{sidecar}": said.encode()}
    return found


@pytest.mark.parametrize(
    "sidecar, said",
    [("cls", lambda n: n), ("json", lambda n: {"caption": "x", "class_name": n}), ("json", lambda n: {"label": n})],
)
def test_the_class_stands_beside_the_image(tmp_path, sidecar, said):
    path = made.tar(tmp_path / "x.tar", samples(map(said, ["fox", "elk", "fox", "elk"]), sidecar=sidecar))
    images = labelled(open_place(path), 32)
    assert images.class_names == ("elk", "fox") and images.labels.tolist() == [1, 0, 1, 0]
    assert np.array_equal(images.images[2].permute(1, 2, 0), made.pixels(2))


def test_numbers_stay_numbers_until_a_set_names_them(tmp_path):
    by_class = open_place(made.tar(tmp_path / "x.tar", samples([3, 0, 10, 3]))).by_class()
    assert by_class == {"0": ["00001.png"], "10": ["00002.png"], "3": ["00000.png", "00003.png"]}


def test_shards_are_one_set(tmp_path):
    for shard in range(3):
        made.tar(tmp_path / f"train-{shard:05d}.tar", samples(["fox", "elk"], 10 * shard))
    images = labelled(open_place(tmp_path), 32)
    assert images.class_names == ("elk", "fox") and len(images) == 6
    assert np.array_equal(images.images[images.keys.index("train-00002.tar/00021.png")].permute(1, 2, 0), made.pixels(21))


def test_shards_of_one_name_in_several_folders(tmp_path):
    for shard in range(2):
        made.tar(tmp_path / f"part{shard}" / "000.tar", samples(["fox", "elk"], 10 * shard))
    images = labelled(open_place(tmp_path), 32)
    assert [key for key in images.keys if key.endswith("0.png")] == ["part0/000.tar/00000.png", "part1/000.tar/00010.png"]
    assert np.array_equal(images.images[2].permute(1, 2, 0), made.pixels(10))


def test_shards_of_class_folders(tmp_path):
    for shard in range(2):
        made.tar(tmp_path / f"{shard}.tar", {f"{name}/{shard}.png": made.encoded(shard) for name in ("elk", "fox")})
    assert labelled(open_place(tmp_path), 32).class_names == ("elk", "fox")


def test_a_folder_around_samples_is_no_class(tmp_path):
    contents = {f"train/{name}": content for name, content in samples(["fox", "elk", "fox"]).items()}
    assert list(open_place(made.tar(tmp_path / "x.tar", contents)).by_class()) == ["elk", "fox"]


def test_without_classes_they_are_images_all_the_same(tmp_path):
    path = made.tar(tmp_path / "x.tar", {"a.png": made.encoded(1), "b.png": made.encoded(2)})
    assert len(unlabelled(open_place(path), 8)) == 2
    with pytest.raises(DataError, match=r"x\.tar holds no images in class folders .*KEY\.cls"):
        labelled(open_place(path), 8)


def test_a_sample_without_its_class(tmp_path):
    contents = samples(["fox", "elk"]) | {"00009.png": made.encoded(9)}
    with pytest.raises(DataError, match=r"x\.tar: samples without a class: '00009\.png'"):
        labelled(open_place(made.tar(tmp_path / "x.tar", contents)), 8)


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": 1' * 9])
def test_facts_that_are_no_json(tmp_path, content):
    path = made.tar(tmp_path / "x.tar", {"a.png": made.encoded(1), "a.json": content})
    with pytest.raises(DataError, match=r"x\.tar: a\.json is not readable"):
        labelled(open_place(path), 8)


@pytest.mark.parametrize("content", [b"3", b"[]", b'{"label": null}', b'{"label": true}', b'{"label": [1]}', b"{}"])
def test_facts_that_say_nothing_of_a_class(tmp_path, content):
    with pytest.raises(DataError, match="no images in class folders"):
        labelled(open_place(made.tar(tmp_path / "x.tar", {"a.png": made.encoded(1), "a.json": content})), 8)


def test_a_huge_sidecar_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_SMALL_BYTES", 2**20)
    path = made.tar(tmp_path / "x.tar", {"a.png": made.encoded(1), "a.json": bytes(2**20 + 1)})
    with pytest.raises(DataError, match=r"a\.json is larger than 1 MiB"):
        labelled(open_place(path), 8)


def test_sidecars_outside_the_tar_are_no_sidecars(tmp_path):
    contents = {"a.png": made.encoded(1), "../a.cls": b"fox", "/a.cls": b"fox", ".hidden/a.cls": b"fox"}
    assert files.list_images(made.tar(tmp_path / "x.tar", contents)) == ["a.png"]
    with pytest.raises(DataError, match="no images in class folders"):
        labelled(open_place(tmp_path / "x.tar"), 8)
