"""The ID set's codec: what is read from a file is what other images are coded with."""

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from dogfast.data.codec import (
    SENSOR_SIGMA,
    Jpeg,
    Lossless,
    Sensor,
    codec_facts,
    codec_from,
    codec_of,
    codec_of_image,
    decode_through,
    pass_through,
)


def photo(seed=0, side=32):
    """A smooth image with some texture."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def encoded(image, format="JPEG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, format, **options)
    return buffer.getvalue()


def tables_of(jpeg_bytes):
    return [list(table) for _, table in sorted(Image.open(io.BytesIO(jpeg_bytes)).quantization.items())]


def decoded(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def test_a_file_in_the_codec_has_passed_through_it():
    file = encoded(photo(4), quality=30, subsampling=2)
    codec = codec_of(file, 32)
    assert np.array_equal(decode_through(codec, file, "k", 32), decoded(file))
    assert not np.array_equal(codec(decoded(file), "k"), decoded(file)), "a second time would tell"


@pytest.mark.parametrize(
    "file",
    [
        encoded(photo(4), quality=60, subsampling=2),
        encoded(photo(4), quality=30, subsampling=0),
        encoded(photo(4), "PNG"),
        encoded(np.tile(photo(4), (1, 2, 1)), quality=30, subsampling=2),
    ],
    ids=["other tables", "other subsampling", "lossless", "cut"],
)
def test_every_other_file_passes_through_the_codec(file):
    codec = codec_of(encoded(photo(), quality=30, subsampling=2), 32)
    plain = decode_through(Lossless(), file, "k", 32)
    assert np.array_equal(decode_through(codec, file, "k", 32), codec(plain, "k"))


@pytest.mark.parametrize("quality", [10, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_tables_and_subsampling_are_read_from_the_file(quality, subsampling):
    file = encoded(photo(), quality=quality, subsampling=subsampling)
    codec = codec_of(file, 32)
    assert isinstance(codec, Jpeg) and codec.subsampling == subsampling
    assert [list(table) for table in codec.tables] == tables_of(file)


def test_an_image_is_coded_as_the_set_is():
    codec = codec_of(encoded(photo(1), quality=40, subsampling=2), 32)
    expected = np.asarray(Image.open(io.BytesIO(encoded(photo(2), quality=40, subsampling=2))))
    assert np.array_equal(codec(photo(2), "any"), expected)


def test_the_coded_file_has_the_same_tables(monkeypatch):
    codec, written = codec_of(encoded(photo(1), quality=33, subsampling=1), 32), []
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda self, to, *a, **k: (save(self, to, *a, **k), written.append(to.getvalue())))
    codec(photo(2), "any")
    assert tables_of(written[0]) == [list(table) for table in codec.tables]
    assert codec_of(written[0], 32) == codec


def test_coding_twice_changes_little_more():
    codec = codec_of(encoded(photo(), quality=75), 32)
    once = codec(photo(3), "k")
    twice = codec(once, "k")
    assert np.abs(twice.astype(int) - once).mean() < np.abs(once.astype(int) - photo(3)).mean()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_without_three_channels_give_a_usable_codec(mode):
    codec = codec_of(encoded(Image.fromarray(photo()).convert(mode)), 32)
    assert codec(photo(), "k").shape == (32, 32, 3) and codec.subsampling in (0, 1, 2)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP", "GIF"])
def test_other_formats_are_lossless(format):
    assert codec_of(encoded(photo(), format), 32) == Lossless()


def test_a_resized_jpeg_counts_as_lossless():
    assert codec_of(encoded(photo(side=48)), 32) == Lossless()
    assert isinstance(codec_of(encoded(photo(side=48)), 48), Jpeg)


def test_lossless_is_the_identity():
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    assert pass_through(Lossless(), images, tuple("abcde")) is images
    assert np.array_equal(Lossless()(photo(), "k"), photo())


def test_the_sensor_is_a_function_of_the_key():
    sensor, image = Sensor(), np.full((64, 64, 3), 128, np.uint8)
    noisy = sensor(image, "a")
    assert noisy.dtype == np.uint8 and np.array_equal(noisy, sensor(image, "a"))
    assert not np.array_equal(noisy, sensor(image, "b"))
    assert abs((noisy.astype(float) - 128).std() - SENSOR_SIGMA) < 0.15 and abs(noisy.mean() - 128) < 0.2


@pytest.mark.parametrize("value", [0, 255])
def test_the_sensor_does_not_wrap_around(value):
    noisy = Sensor()(np.full((32, 32, 3), value, np.uint8), "k").astype(int)
    assert np.abs(noisy - value).max() < 30


@pytest.mark.parametrize("codec", [Sensor(), Jpeg(((16,) * 64, (17,) * 64), 2)])
def test_pass_through_keeps_the_order(codec):
    photos = [photo(seed) for seed in range(20)]
    keys = tuple(f"k{seed}" for seed in range(20))
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)
    coded = pass_through(codec, images, keys)
    assert coded.dtype == torch.uint8 and coded.shape == images.shape and coded.is_contiguous()
    for row, key in enumerate(keys):
        assert np.array_equal(coded[row].permute(1, 2, 0).numpy(), codec(photos[row], key))


def test_pass_through_wants_a_key_an_image():
    with pytest.raises(AssertionError):
        pass_through(Sensor(), torch.zeros(3, 3, 8, 8, dtype=torch.uint8), ("only one",))


@pytest.mark.parametrize("codec", [Sensor(), Lossless(), Jpeg(((16,) * 64,), 2)])
def test_codecs_describe_themselves(codec):
    assert str(codec) and "object at" not in str(codec)


# --- as facts ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("codec", [Lossless(), Sensor(), Jpeg(((3,) * 64, (1,) * 64), 2)], ids=str)
def test_a_codec_comes_back_from_its_facts(codec):
    assert codec_from(json.loads(json.dumps(codec_facts(codec)))) == codec


def test_an_open_image_has_the_codec_of_its_file_and_a_changed_one_has_none():
    file = encoded(photo(), quality=40)
    image = Image.open(io.BytesIO(file))
    assert codec_of_image(image, 32) == codec_of(file, 32)
    assert codec_of_image(image.rotate(90), 32) == Lossless() and codec_of_image(image, 16) == Lossless()


@pytest.mark.parametrize(
    "facts",
    [
        *[None, [], {}, {"kind": "Jpeg"}, {"kind": "jpeg"}, {"kind": ["jpeg"]}],
        {"kind": "jpeg", "tables": [], "subsampling": 0},
        {"kind": "jpeg", "tables": [[1] * 64], "subsampling": 3},
        {"kind": "jpeg", "tables": [[1] * 64], "subsampling": "0"},
        {"kind": "jpeg", "tables": [[1] * 65], "subsampling": 0},
        {"kind": "jpeg", "tables": ["1" * 64], "subsampling": 0},
        {"kind": "jpeg", "tables": [[1.0] * 64], "subsampling": 0},
        {"kind": "jpeg", "tables": [[2**16] * 64], "subsampling": 0},
        {"kind": "jpeg", "tables": [[True] * 64], "subsampling": 0},
    ],
    ids=str,
)
def test_facts_of_no_codec_are_refused(facts):
    with pytest.raises(ValueError, match="none of lossless, sensor, jpeg"):
        codec_from(facts)
