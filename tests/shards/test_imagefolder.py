"""Outliers as plain files: the bytes of the shards, in folders, with lists that OpenOOD reads."""

import ast
import io
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dogfast.data.splits import is_validation_outlier
from dogfast.errors import DataError
from dogfast.shards.imagefolder import place_of, write_image_folder
from dogfast.shards.reader import load_outliers

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("helpers.py"))))


@pytest.fixture
def source(tmp_path):
    for shard, word in enumerate(("wolf", "fox", "tête de loup")):
        helpers.commit(tmp_path / "dog", shard, count=2, cls=shard, class_name=f"class {shard}", anchor=word)
    return tmp_path / "dog"


def openood_reads(folder, listed):
    """As its `ImglistDataset` does: path up to the first blank, then a label."""
    for line in (folder / listed).read_text().splitlines():
        name, label = line.strip("\n").split(" ", 1)
        yield Image.open(io.BytesIO((folder / name).read_bytes())).convert("RGB"), ast.literal_eval(label), name


def test_every_outlier_is_a_file_in_the_folder_of_its_class_and_anchor(source, tmp_path):
    counts = write_image_folder(source, tmp_path / "out")
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.png"))
    assert sum(counts.values()) == len(files) == 6
    assert files[0] == "0000-class_0/wolf/000000000.png" and files[-1] == "0002-class_2/t_te_de_loup/000020001.png"
    pixels = {path.stem: np.asarray(Image.open(path)) for path in (tmp_path / "out").rglob("*.png")}
    outliers = load_outliers(source, 8)
    for key, image in zip(outliers.keys, outliers.images):
        assert np.array_equal(pixels[key], image.permute(1, 2, 0).numpy())


def test_openood_reads_both_lists_as_unknown_and_none_that_validates_trains(source, tmp_path):
    counts = write_image_folder(source, tmp_path / "out")
    held_out = {facts["key"] for facts in load_outliers(source, 8).facts if is_validation_outlier(facts)}
    assert 0 < len(held_out) < 6, "the words of this test fall into both"
    found = {listed: list(openood_reads(tmp_path / "out", listed)) for listed in ("train.txt", "val.txt")}
    assert {listed: len(read) for listed, read in found.items()} == counts
    assert all(label == -1 and image.size == (8, 8) for read in found.values() for image, label, _ in read)
    assert {Path(name).stem for _, _, name in found["val.txt"]} == held_out


@pytest.mark.parametrize(
    ("class_name", "anchor", "place"),
    [
        ("../../etc", "../x", "0001-_etc/_x"),
        ("/", "", "0001-_/dog"),
        ("häuschen am see", "a" * 500, f"0001-h_uschen_am_see/{'a' * 60}"),
        (".hidden", "con\n\x00", "0001-_hidden/con_"),
    ],
)
def test_no_name_leads_out_of_the_folder(class_name, anchor, place):
    assert place_of(helpers.facts(class_name=class_name, anchor=anchor).to_dict()) == place


def test_the_same_bytes_come_out_again(source, tmp_path):
    for name in ("one", "two"):
        write_image_folder(source, tmp_path / name)
    first, second = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*") if p.is_file()} for n in ("one", "two")
    )
    assert first == second


def test_latents_damage_and_nothing_are_refused(source, tmp_path):
    helpers.commit_latents(tmp_path / "dog-latent")
    with pytest.raises(DataError, match="holds latents"):
        write_image_folder(tmp_path / "dog-latent", tmp_path / "out")
    with pytest.raises(DataError, match="no committed outliers"):
        write_image_folder(tmp_path / "nothing", tmp_path / "out")
    tar = source / "train-00001.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(DataError, match=r"train-00001\.tar is damaged"):
        write_image_folder(source, tmp_path / "out")
