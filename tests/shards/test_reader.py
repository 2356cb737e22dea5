"""Reading back what was written, and records that are not what they say."""

import io
import json
import runpy
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dogfast.errors import DataError
from dogfast.shards import reader
from dogfast.shards.format import Sample
from dogfast.shards.reader import decode_image, load_outliers, read_records, read_shard

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent.parent / "shards" / "helpers.py")))


def test_samples_come_back_in_order_with_their_pixels(tmp_path):
    record = helpers.commit(tmp_path, 2)
    found = list(read_shard(tmp_path / record["tar"], record["sha256"]))
    assert [sample.facts for sample in found] == [helpers.facts(2, n).to_dict() for n in range(3)]
    for n, sample in enumerate(found):
        assert np.array_equal(decode_image(tmp_path / record["tar"], sample), helpers.image(n))
    assert [s.key for s in read_shard(tmp_path / record["tar"])] == ["000020000", "000020001", "000020002"]


@pytest.mark.parametrize("format", [0, 1], ids=["ustar", "gnu"])
def test_tars_packed_by_others_are_read(tmp_path, format):
    path = helpers.plant(tmp_path, helpers.pack([*helpers.pair()[::-1]], format=format))
    assert [sample.key for sample in read_shard(path)] == ["000000000"]


def test_members_of_several_samples_may_be_mixed(tmp_path):
    one, two = helpers.pair(), helpers.pair(helpers.text(key="000000001"), key="000000001")
    path = helpers.plant(tmp_path, helpers.pack([one[0], two[1], one[1], two[0]]))
    assert [sample.key for sample in read_shard(path)] == ["000000000", "000000001"]


def test_our_own_headers_are_parsed_as_tarfile_parses_them(tmp_path, monkeypatch):
    record = helpers.commit(tmp_path)
    content = (tmp_path / record["tar"]).read_bytes()
    header = content[:512]
    wanted = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarInfo, "frombuf", None)
        assert reader._header(tmp_path, header) == (wanted.name, True, wanted.size)
        assert len(list(read_shard(tmp_path / record["tar"]))) == 3
    refused = 0
    for place in range(512):
        wound = header[:place] + bytes([header[place] ^ 1]) + header[place + 1 :]
        try:
            wanted = tarfile.TarInfo.frombuf(wound, "utf-8", "surrogateescape")
        except tarfile.TarError:
            refused += 1
            with pytest.raises(DataError, match="not a readable tar"):
                reader._header(tmp_path, wound)
        else:
            assert reader._header(tmp_path, wound) == (wanted.name, True, wanted.size)
    assert refused > 500


# --- all of a folder --------------------------------------------------------------------------------------------
def test_outliers_of_all_shards_are_loaded_in_order(tmp_path):
    for shard in (1, 0):
        helpers.commit(tmp_path, shard)
    loaded = load_outliers(tmp_path, 8)
    assert loaded.images.shape == (6, 3, 8, 8) and loaded.images.dtype == torch.uint8 and len(loaded) == 6
    assert loaded.keys == tuple(f"{shard:05d}{n:04d}" for shard in range(2) for n in range(3))
    assert np.array_equal(loaded.images[4].permute(1, 2, 0).numpy(), helpers.image(1))


@pytest.mark.parametrize("side", [8, 16, 72])
def test_outliers_are_brought_to_the_side_asked_for(tmp_path, side):
    helpers.commit(tmp_path, side=side)
    assert load_outliers(tmp_path, 12).images.shape == (3, 3, 12, 12)


def test_an_uncommitted_tar_is_not_read(tmp_path):
    helpers.commit(tmp_path, 0)
    helpers.commit(tmp_path, 1)
    (tmp_path / "records" / "00001.json").unlink()
    (tmp_path / "records" / ".00001.json.part-77").write_text("{")
    assert [record["shard"] for record in read_records(tmp_path)] == [0]
    assert len(load_outliers(tmp_path, 8)) == 3


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_outliers_says_what_to_run(tmp_path, made):
    if made:
        helpers.commit(tmp_path / "x", count=0)
    with pytest.raises(DataError, match="no committed outliers; run `dogfast generate`"):
        load_outliers(tmp_path / "x", 8)


# --- records ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "change",
    [
        {"tar": "../x.tar"},
        {"tar": "/etc/passwd"},
        {"tar": ".."},
        {"tar": ""},
        {"tar": "train-00001.tar"},
        {"tar": 5},
        {"tar": None},
        {"shard": 1},
        {"shard": "0"},
        {"shard": None},
        {"samples": "3"},
        {"samples": -1},
        {"samples": True},
        {"samples": float("nan")},
        {"bytes": None},
        {"sha256": None},
        {"sha256": ["x"]},
    ],
    ids=str,
)
def test_a_record_that_is_none_is_named(tmp_path, change):
    helpers.commit(tmp_path, 1)
    record = helpers.commit(tmp_path, 0)
    (tmp_path.parent / "x.tar").write_bytes(b"")
    (tmp_path / "records" / "00000.json").write_text(json.dumps(record | change))
    with pytest.raises(DataError, match=r"00000\.json"):
        read_records(tmp_path)
    with pytest.raises(DataError, match=r"00000\.json"):
        load_outliers(tmp_path, 8)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"3", b"[" * 100_000, b"{}"])
def test_a_record_that_is_not_even_an_object_is_named(tmp_path, body):
    helpers.commit(tmp_path)
    (tmp_path / "records" / "00000.json").write_bytes(body)
    with pytest.raises(DataError, match=r"00000\.json"):
        read_records(tmp_path)


def test_a_record_whose_tar_is_gone_says_how_to_paint_it_anew(tmp_path):
    record = helpers.commit(tmp_path)
    (tmp_path / record["tar"]).unlink()
    with pytest.raises(DataError, match=r"'train-00000\.tar', which is missing; `dogfast shards repair`"):
        read_records(tmp_path)


def test_a_folder_in_the_place_of_a_record_or_tar_is_named(tmp_path):
    (tmp_path / "records" / "00000.json").mkdir(parents=True)
    with pytest.raises(DataError, match=r"00000\.json"):
        read_records(tmp_path)
    with pytest.raises(DataError, match="records"):
        list(read_shard(tmp_path / "records"))
    with pytest.raises(DataError, match=r"gone\.tar"):
        list(read_shard(tmp_path / "gone.tar"))


# --- images -----------------------------------------------------------------------------------------------------
def image_sample(suffix, mode="RGB", side=48, **options):
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    image = Image.fromarray(noise).resize((side, side)).convert(mode)
    held = io.BytesIO()
    image.save(held, {"jpg": "JPEG", "png": "PNG"}[suffix], **options)
    return Sample(helpers.facts(side=side).to_dict(), held.getvalue(), suffix)


@pytest.mark.parametrize(
    "suffix, options",
    [
        ("jpg", {"quality": 95, "subsampling": 0}),
        ("jpg", {"quality": 75, "subsampling": 2}),
        ("jpg", {"progressive": True}),
        ("jpg", {"mode": "L"}),
        ("jpg", {"mode": "CMYK"}),
        ("png", {}),
        ("png", {"mode": "L"}),
        ("png", {"mode": "1"}),
        ("png", {"mode": "RGBA"}),
        ("png", {"mode": "P"}),
        ("png", {"mode": "P", "transparency": 3}),
        ("png", {"transparency": (255, 0, 0)}),
        ("png", {"gamma": 0.5, "dpi": (72, 72)}),
    ],
    ids=lambda given: given if isinstance(given, str) else " ".join(f"{key}={value}" for key, value in given.items()),
)
def test_images_are_decoded_as_pillow_decodes_them(tmp_path, suffix, options):
    sample = image_sample(suffix, **options)
    expected = np.asarray(Image.open(io.BytesIO(sample.content)).convert("RGB"))
    found = decode_image(tmp_path, sample)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("suffix, options", [("jpg", {"quality": 95}), ("png", {})])
@pytest.mark.parametrize("kept", [4, 60, 300, 0.5], ids=["start", "within the header", "after it", "half"])
def test_an_image_that_is_cut_short_is_named(tmp_path, suffix, options, kept):
    sample = image_sample(suffix, **options)
    length = kept if isinstance(kept, int) else int(kept * len(sample.content))
    with pytest.raises(DataError, match="'000000000' is not readable"):
        decode_image(tmp_path, Sample(sample.facts, sample.content[:length], suffix))


def test_a_damaged_png_is_named(tmp_path):
    sample = image_sample("png")
    content = bytearray(sample.content)
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(DataError, match="'000000000' is not readable"):
        decode_image(tmp_path, Sample(sample.facts, bytes(content), "png"))


@pytest.mark.parametrize("width, height", [(4001, 4001), (-1, -1), (2**40, 1)])
def test_no_room_is_made_for_an_impossible_size(tmp_path, monkeypatch, width, height):
    monkeypatch.setattr(reader, "png_decode", lambda *given, **named: pytest.fail("decoded"))
    facts = helpers.facts(side=48).to_dict() | {"width": width, "height": height}
    with pytest.raises(DataError, match="48 x 48 pixels"):
        decode_image(tmp_path, Sample(facts, image_sample("png").content, "png"))


@pytest.mark.parametrize("stated", [40, 0])
def test_png_of_another_size_is_refused(tmp_path, stated):
    with pytest.raises(DataError, match="48 x 48 pixels"):
        decode_image(tmp_path, Sample(helpers.facts(side=stated).to_dict(), image_sample("png").content, "png"))


def test_jpeg_of_another_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(reader.simplejpeg, "decode_jpeg", lambda *given: pytest.fail("decoded"))
    with pytest.raises(DataError, match="48 x 48 pixels"):
        decode_image(tmp_path, Sample(helpers.facts(side=40).to_dict(), image_sample("jpg").content, "jpg"))
