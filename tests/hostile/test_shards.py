"""Shards made by a stranger who means harm: each is refused by name, and nothing is written anywhere."""

import io
import json
import runpy
import struct
import tarfile
import tracemalloc
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dogfast.errors import DataError
from dogfast.shards.latents import load_latents
from dogfast.shards.reader import MAX_MEMBER_BYTES, decode_image, load_outliers, read_shard

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
BLOCK = 512


def kind(type, name="000000000.png", linkname="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = type, linkname, size
    return info


def header(name="000000000.png", size=0, type=b"0"):
    """A header whose size is stated freely, with a right checksum."""
    info = kind(type, name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def end(blocks=2):
    return b"\0" * BLOCK * blocks


GOOD = helpers.pack(helpers.pair())
BODY = helpers.png()

TARS = {
    "empty file": b"",
    "one byte": b"\0",
    "no tar": b"PK\x03\x04" + b"x" * 5000,
    "gzip": zlib.compress(GOOD, wbits=31),
    "symbolic link": helpers.pack([(kind(tarfile.SYMTYPE, linkname="/etc/passwd"), b""), *helpers.pair()]),
    "hard link": helpers.pack([(kind(tarfile.LNKTYPE, linkname="../../x"), b""), *helpers.pair()]),
    "character device": helpers.pack([(kind(tarfile.CHRTYPE), b"")]),
    "block device": helpers.pack([(kind(tarfile.BLKTYPE), b"")]),
    "fifo": helpers.pack([(kind(tarfile.FIFOTYPE), b"")]),
    "folder": helpers.pack([(kind(tarfile.DIRTYPE, "a"), b"")]),
    "unknown kind": helpers.pack([(kind(b"Z"), b"")]),
    "continuous file": helpers.pack([(kind(tarfile.CONTTYPE), b"")]),
    "parent folder": helpers.pack([("../000000000.png", BODY)]),
    "absolute name": helpers.pack([("/tmp/000000000.png", BODY)]),
    "folder in the name": helpers.pack([("a/000000000.png", BODY)]),
    "backslashes": helpers.pack([("..\\000000000.png", BODY)]),
    "line end in the name": helpers.pack([("000000000.png\n", BODY)]),
    "no name": helpers.pack([("", BODY)]),
    "dots": helpers.pack([("....png", BODY)]),
    "name that is no text": helpers.pack([("000000000.png", BODY)]).replace(b"000000000.png", b"\xff\xfe0000000.png", 1),
    "long name": helpers.pack([("k" * 65 + ".png", BODY)]),
    "very long name": helpers.pack([("k" * 3000 + ".png", BODY)], format=tarfile.GNU_FORMAT),
    "pickle": helpers.pack([("000000000.pkl", b"cos\nsystem\n(S'true'\ntR."), *helpers.pair()]),
    "pickle by another name": helpers.pack([("000000000.pyd", b"cos\nsystem\n(S'true'\ntR."), *helpers.pair()]),
    "weights": helpers.pack([("000000000.pth", b"x"), *helpers.pair()]),
    "upper case": helpers.pack([("000000000.PNG", BODY)]),
    "pax header": helpers.pack([("schön" * 30 + ".png", BODY)], format=tarfile.PAX_FORMAT),
    "pax header of huge size": header("x", 2**40, b"x") + b"30 size=1\n".ljust(BLOCK, b"\0") + end(),
    "long name of huge size": header("x", 2**62, b"L") + end(8),
    "sparse file": header("000000000.png", 512, b"S") + end(4),
    "a chain of pax headers": (header("x", 10, b"x") + b"10 a=bcde\n".ljust(BLOCK, b"\0")) * 3000 + end(),
    "huge size": header(size=2**33) + end(4),
    "size beyond any": header(size=2**70) + end(4),
    "negative size": header(size=-512) + BODY.ljust(2 * BLOCK, b"\0") + end(),
    "just too large": header(size=MAX_MEMBER_BYTES + 1) + end(4),
    "size beyond the file": header(size=100_000) + BODY + end(),
    "same member twice": helpers.pack([*helpers.pair(), helpers.pair()[0]]),
    "same sample twice": helpers.pack(helpers.pair() * 2),
    "image twice": helpers.pack([helpers.pair()[1]] * 2),
    "two images": helpers.pack([("000000000.png", BODY), ("000000000.jpg", BODY)]),
    "an image and a latent": helpers.pack([("000000000.png", BODY), ("000000000.npy", BODY)]),
    "two images and a json": helpers.pack([*helpers.pair(), ("000000000.jpg", BODY)]),
    "no json": helpers.pack([("000000000.png", BODY)]),
    "no image": helpers.pack([helpers.pair()[0]]),
    "something behind the end": GOOD + GOOD,
    "garbage behind the end": GOOD + b"x",
    "no end": GOOD.rstrip(b"\0") + b"\0" * (-len(GOOD.rstrip(b"\0")) % BLOCK),
    "half an end": GOOD.rstrip(b"\0") + b"\0" * (-len(GOOD.rstrip(b"\0")) % BLOCK) + end(1),
}

JSONS = {
    "empty": b"",
    "cut": helpers.text()[:-5],
    "no text": b"\xff\xfe\x00",
    "a list": b"[]",
    "null": b"null",
    "a number": b"12",
    "nothing in it": b"{}",
    "nested bomb": b'{"key": ' + b"[" * 200_000,
    "nested bomb of objects": b'{"a":' * 200_000,
    "huge number": b'{"cls": ' + b"9" * 10_000 + b"}",
    "not a number": helpers.text(guidance_scale=float("nan")),
    "infinite": helpers.text(guidance_scale=float("inf")),
    "infinite by overflow": helpers.text().replace(b"4.0", b"1e999"),
    "other key": helpers.text(key="000000001"),
    "key of another kind": helpers.text(key=0),
    "path as key": helpers.text(key="../000000000"),
    "text as class": helpers.text(cls="1"),
    "truth as class": helpers.text(cls=True),
    "fraction as class": helpers.text(cls=1.0),
    "whole guidance": helpers.text(guidance_scale=4),
    "null prompt": helpers.text(prompt=None),
    "list as anchor": helpers.text(anchor=["a"]),
    "half a character": helpers.text(anchor="\ud800"),
    "without anchor": json.dumps({k: v for k, v in helpers.facts().to_dict().items() if k != "anchor"}).encode(),
}


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width, height):
    """A few bytes that claim any size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def other_format(name):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(helpers.image()).save(buffer, name)
    return buffer.getvalue()


TEXT_BOMB = b"\x89PNG\r\n\x1a\n" + BODY[8:33] + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 80_000_000)) + BODY[33:]

IMAGES = {
    "empty": (b"", {}),
    "no image": (b"GIF89a", {}),
    "cut": (BODY[: len(BODY) // 2], {}),
    "no data": (BODY[:40], {}),
    "wrong size": (BODY, {"width": 9}),
    "wrong way round": (helpers.png(helpers.image(side=4, width=8)), {"width": 4, "height": 8}),
    "bomb": (png_of(40_000, 40_000), {"width": 40_000, "height": 40_000}),
    "larger bomb": (png_of(2**31 - 1, 2**31 - 1), {"width": 2**31 - 1, "height": 2**31 - 1}),
    "just too large": (png_of(4001, 4000), {"width": 4001, "height": 4000}),
    "no pixels": (png_of(0, 0), {"width": 0, "height": 0}),
    "text bomb": (TEXT_BOMB, {}),
    "a format that was not asked for": (other_format("BMP"), {}),
    "another": (other_format("TIFF"), {}),
}


@pytest.fixture
def corner(tmp_path, monkeypatch):
    """A folder for the set, inside one in which everything new would be seen."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "a" / "b"
    seen = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert seen == {"a/b/train-00000.tar", "a/b/records/00000.json"}


def refused(folder):
    with pytest.raises(DataError, match=r"train-00000\.tar") as caught:
        load_outliers(folder, 8)
    return str(caught.value)


@pytest.mark.parametrize("name", TARS)
def test_a_hostile_tar_is_refused(corner, name):
    path = helpers.plant(corner, TARS[name])
    refused(corner)
    with pytest.raises(DataError, match=r"train-00000\.tar"):
        list(read_shard(path))


@pytest.mark.parametrize("name", JSONS)
def test_hostile_facts_are_refused(corner, name):
    helpers.plant(corner, helpers.pack(helpers.pair(JSONS[name])))
    assert "000000000.json" in refused(corner)


@pytest.mark.parametrize("name", IMAGES)
def test_a_hostile_image_is_refused_before_it_is_decoded(corner, name):
    image, changes = IMAGES[name]
    helpers.plant(corner, helpers.pack(helpers.pair(helpers.text(**changes), image)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "000000000" in refused(corner)


def test_too_many_pixels_are_refused_by_their_number(corner):
    image, changes = IMAGES["just too large"]
    helpers.plant(corner, helpers.pack(helpers.pair(helpers.text(**changes), image)))
    assert "4001 x 4000 pixels" in refused(corner)


def test_a_grey_png_gives_an_image_in_colour(tmp_path):
    grey = helpers.plant(tmp_path, helpers.pack(helpers.pair(content=helpers.png(helpers.image()[:, :, 0]))))
    (sample,) = read_shard(grey)
    assert decode_image(grey, sample).shape == (8, 8, 3)


# --- latents ----------------------------------------------------------------------------------------------------
def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npy_of(described, body=b"", version=b"\x01\x00"):
    """A file whose header says anything."""
    text = described.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(text)) + text + body


def says(shape, descr="'<f2'", order=False):
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"


class Armed:
    """Whoever unpickles it writes a file."""

    def __reduce__(self):
        return (Path.touch, (Path("unpickled"),))


LATENT = helpers.latent()
VALUES = LATENT.tobytes()
LATENTS = {
    "empty": (b"", {}),
    "no npy": (b"GIF89a", {}),
    "a png": (BODY, {}),
    "pickled": (npy(np.array([Armed()], dtype=object), allow_pickle=True), {}),
    "a pickle alone": (b"\x80\x04cos\nsystem\n.", {}),
    "said to be objects": (npy_of(says("(4, 8, 8)", "'|O'"), VALUES), {}),
    "objects in a structure": (npy_of(says("(4, 8, 8)", "[('a', '|O')]"), VALUES), {}),
    "huge": (npy_of(says("(4, 1048576, 1048576)"), VALUES), {"width": 2**20, "height": 2**20}),
    "huge in channels": (npy_of(says("(4294967296, 8, 8)"), VALUES), {}),
    "larger than any number": (npy_of(says(f"({10**400}, 8, 8)"), VALUES), {}),
    "too large": (npy(np.zeros((1, 2048, 2049), np.float16)), {"width": 2049, "height": 2048}),
    "wrong width": (npy(LATENT), {"width": 9}),
    "wrong way round": (npy(helpers.latent(0, 4, 8)), {"width": 4, "height": 8}),
    "two axes": (npy(LATENT[0]), {}),
    "four axes": (npy(LATENT[None]), {}),
    "no axes": (npy(np.float16(1)), {}),
    "no channels": (npy(LATENT[:0]), {}),
    "negative": (npy_of(says("(-4, -8, 8)"), VALUES), {"height": -8}),
    "a truth for a size": (npy_of(says("(True, 8, 8)"), VALUES[:128]), {}),
    "a fraction for a size": (npy_of(says("(4.0, 8, 8)"), VALUES), {}),
    "Fortran's order": (npy(np.asfortranarray(LATENT)), {}),
    "single precision": (npy(LATENT.astype(np.float32)), {}),
    "big-endian": (npy(np.ones((4, 8, 8), ">f2")), {}),
    "whole numbers": (npy(np.ones((4, 8, 8), np.int16)), {}),
    "trailing bytes": (npy(LATENT) + b"x", {}),
    "a second array": (npy(LATENT) * 2, {}),
    "cut": (npy(LATENT)[:-2], {}),
    "cut in the header": (npy(LATENT)[:40], {}),
    "another version": (npy_of(says("(4, 8, 8)"), VALUES, b"\x02\x00"), {}),
    "a version of the future": (npy_of(says("(4, 8, 8)"), VALUES, b"\x09\x00"), {}),
    "code in the header": (npy_of("__import__('pathlib').Path('ran').touch()", VALUES), {}),
    "a deep header": (npy_of("[" * 9000, VALUES), {}),
    "a long header": (npy_of(says("(4, 8, 8)") + " " * 60_000, VALUES), {}),
    "no number": (npy(np.full_like(LATENT, np.nan)), {}),
    "endless": (npy(np.full_like(LATENT, np.inf)), {}),
}


@pytest.mark.parametrize("name", LATENTS)
def test_a_hostile_latent_is_refused_before_anything_is_made_of_it(corner, name):
    content, changes = LATENTS[name]
    members = [("000000000.json", helpers.text(**changes)), ("000000000.npy", content)]
    helpers.plant(corner, helpers.pack(members), kind="latent")
    tracemalloc.start()
    with warnings.catch_warnings(), pytest.raises(DataError, match=r"train-00000\.tar: the latent of sample '000000000'"):
        warnings.simplefilter("ignore")
        load_latents(corner)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()
    refused(corner)


def test_the_latent_that_they_are_made_of_is_good(tmp_path):
    helpers.plant(tmp_path, helpers.pack([("000000000.json", helpers.text()), ("000000000.npy", npy(LATENT))]), kind="latent")
    assert np.array_equal(load_latents(tmp_path).values[0].numpy(), LATENT)


# --- damage -----------------------------------------------------------------------------------------------------
def whole(folder):
    record = helpers.commit(folder, count=4)
    return folder / record["tar"], record["sha256"]


@pytest.mark.parametrize("left", [0, 1, 511, 512, 700, 1024, 4096, -10240, -1024, -512, -1])
def test_a_cut_shard_is_refused_with_its_digest_and_without(tmp_path, left):
    path, digest = whole(tmp_path)
    content = path.read_bytes()
    payload = len(content.rstrip(b"\0"))
    path.write_bytes(content[:left] if left >= 0 else content[: payload + 512 + left][: len(content)])
    with pytest.raises(DataError, match=r"train-00000\.tar is damaged"):
        list(read_shard(path, digest))
    with pytest.raises(DataError, match=r"train-00000\.tar"):
        list(read_shard(path))


def test_a_cut_between_two_members_is_no_end(tmp_path):
    """`tarfile` reads such a file without a word."""
    path, _ = whole(tmp_path)
    with tarfile.open(path) as tar:
        third = tar.getmembers()[4].offset
    path.write_bytes(path.read_bytes()[:third])
    with tarfile.open(path) as tar:
        assert len(tar.getmembers()) == 4
    with pytest.raises(DataError, match="cut short or damaged"):
        list(read_shard(path))


@pytest.mark.parametrize("wound", [b"\xff" * BLOCK, b"\0" * BLOCK, b"\0" * 100, b"x"])
def test_an_overwritten_header_is_no_end(tmp_path, wound):
    """`tarfile` takes it for one."""
    path, digest = whole(tmp_path)
    with tarfile.open(path) as tar:
        third = tar.getmembers()[4].offset
    content = bytearray(path.read_bytes())
    content[third : third + len(wound)] = wound
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged: its SHA-256"):
        list(read_shard(path, digest))
    with pytest.raises(DataError, match=r"train-00000\.tar"):
        list(read_shard(path))


def test_every_flipped_byte_is_refused_with_the_digest_and_gives_nothing_but_data_errors_without(tmp_path):
    path, digest = whole(tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content.rstrip(b"\0")), 37):
        flipped = bytearray(content)
        flipped[place] ^= 0x41
        path.write_bytes(flipped)
        with pytest.raises(DataError, match="is damaged: its SHA-256 is not the recorded one; `dogfast shards repair`"):
            list(read_shard(path, digest))
        try:
            for sample in read_shard(path):
                decode_image(path, sample)
        except DataError as error:
            assert "train-00000.tar" in str(error)


def test_a_sparse_file_of_a_terabyte_is_not_read(tmp_path):
    path = tmp_path / "train-00000.tar"
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match="larger than"):
        list(read_shard(path))
