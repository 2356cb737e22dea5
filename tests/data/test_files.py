"""Image files as users have them: odd modes and names, broken and hostile ones, in folders and in tars."""

import dataclasses
import io
import itertools
import os
import struct
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image

from dogfast.data import files, pictures
from dogfast.data.files import decode_square, files_below, list_images, refuse_single_images
from dogfast.data.pictures import first_content, labelled, unlabelled
from dogfast.data.places import open_place
from dogfast.errors import DataError


def picture(seed=0, size=(32, 32), mode="RGB"):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image=None, format="PNG", **options):
    buffer = io.BytesIO()
    (image or picture()).save(buffer, format, **options)
    return buffer.getvalue()


def write(root, contents):
    """``{relative name: bytes}`` below ``root``."""
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def pack(path, contents, prefix=""):
    """A tar of ``contents``; a value may be a TarInfo, which is added as it is, without content."""
    with tarfile.open(path, "w") as tar:
        for name, content in contents.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def special(name, kind, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o777
    return member


def by_folder(path, side_px, per_class=0):
    return labelled(open_place(path), side_px, per_class)


def loose(path, side_px, limit=0):
    return unlabelled(open_place(path), side_px, limit)


def two_classes(n=4):
    return {f"{name}/{i}.png": encoded(picture(10 * c + i)) for c, name in enumerate(("cat", "dog")) for i in range(n)}


def same(a, b):
    return (
        a.keys == b.keys
        and a.class_names == b.class_names
        and torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
    )


# --- what is read -----------------------------------------------------------------------------------------------
def test_labels_keys_and_pixels(tmp_path):
    images = by_folder(write(tmp_path, two_classes(2)), 32)
    assert images.class_names == ("cat", "dog") and images.labels.tolist() == [0, 0, 1, 1]
    assert images.keys == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    for row, seed in enumerate((0, 1, 10, 11)):
        assert np.array_equal(images.images[row].permute(1, 2, 0), picture(seed))


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("per_class", [0, 2])
def test_a_folder_and_its_tar_are_the_same(tmp_path, prefix, per_class):
    contents = two_classes()
    folder = by_folder(write(tmp_path / "folder", contents), 24, per_class)
    shuffled = dict(sorted(contents.items(), key=lambda item: item[0][::-1]))
    assert same(folder, by_folder(pack(tmp_path / "set.tar", shuffled, prefix), 24, per_class))


def test_more_files_than_are_decoded_together(tmp_path, monkeypatch):
    whole = by_folder(write(tmp_path, two_classes(9)), 32)
    monkeypatch.setattr(pictures, "DECODED_TOGETHER", 4)
    assert same(whole, by_folder(tmp_path, 32))


def test_few_encoded_images_wait_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "DECODED_TOGETHER", 5)
    found, decode = open_place(write(tmp_path, two_classes(20))), pictures.decode_through
    waiting, most = set(), []

    def watched(keys):
        for key, content in found.read(keys):
            waiting.add(id(content)), most.append(len(waiting))
            yield key, content

    monkeypatch.setattr(
        pictures,
        "decode_through",
        lambda codec, content, *given: (waiting.discard(id(content)), decode(codec, content, *given))[1],
    )
    labelled(dataclasses.replace(found, read=watched), 32)
    assert len(most) == 40 and max(most) <= 5


def test_per_class_draws_by_hash_not_by_order(tmp_path):
    write(tmp_path, two_classes(12))
    drawn = by_folder(tmp_path, 32, per_class=3)
    assert torch.bincount(drawn.labels).tolist() == [3, 3]
    assert set(drawn.keys) < set(by_folder(tmp_path, 32, per_class=5).keys), "more images keep those that were drawn"
    assert [k for k in drawn.keys if k.startswith("cat")] != ["cat/0.png", "cat/1.png", "cat/10.png"]
    assert same(drawn, by_folder(tmp_path, 32, per_class=3))


def test_a_folder_above_the_classes_in_a_tar(tmp_path):
    images = by_folder(pack(tmp_path / "a.tar", two_classes(), "pets/train/"), 32)
    assert images.class_names == ("cat", "dog") and images.keys[0] == "pets/train/cat/0.png"


def test_loose_images_of_any_depth(tmp_path):
    write(
        tmp_path, {"a.png": encoded(), "x/b.jpg": encoded(format="JPEG"), "x/y/c.webp": encoded(format="WEBP"), "n.txt": b"no"}
    )
    images = loose(tmp_path, 16)
    assert images.keys == ("a.png", "x/b.jpg", "x/y/c.webp")
    assert images.class_names == () and images.labels.tolist() == [-1, -1, -1]
    assert len(loose(tmp_path, 16, limit=2)) == 2


@pytest.mark.parametrize(
    "name",
    """a.png a/b.JPG ./a.png a//b.png a/./b.png ././a/b.webp a/.. a/../b.png ../a.png /a.png //a.png .a.png a/.b/c.png a/.png .png
    ..png a/..png a.png/ a.png/. a.png. a.b.png a.png.txt ./.a/b.png ./ . /""".split(),
)
def test_names_in_tars_are_what_paths_make_of_them(name):
    key, path = files.key_in_tar(tarfile.TarInfo(name)), PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    assert key == str(path)
    assert files.is_plain_name(key) == (not path.is_absolute() and not hidden and key != ".")
    assert files.is_image_name(key) == (files.is_plain_name(key) and path.suffix.lower() in files.SUFFIXES)


def test_hidden_files_are_skipped(tmp_path):
    hidden = {".thumbs/1.png": b"x", "cat/._0.png": b"x", ".DS_Store": b"x", "cat/.hidden.jpg": b"x", "cat/Thumbs.db": b"x"}
    contents = two_classes(1) | hidden
    assert list_images(write(tmp_path / "f", contents)) == ["cat/0.png", "dog/0.png"]
    assert list_images(pack(tmp_path / "f.tar", contents)) == ["cat/0.png", "dog/0.png"]
    assert len(by_folder(tmp_path / "f", 8)) == 2


def test_suffixes_in_capitals(tmp_path):
    assert list_images(write(tmp_path, {"a/1.PNG": encoded(), "a/2.JPeG": encoded(format="JPEG")})) == ["a/1.PNG", "a/2.JPeG"]


def test_linked_class_folders_are_read(tmp_path):
    write(tmp_path / "full", two_classes(2))
    subset = tmp_path / "subset"
    subset.mkdir()
    (subset / "katze").symlink_to(tmp_path / "full" / "cat")
    write(subset, {"dog/0.png": encoded()})
    assert by_folder(subset, 8).keys == ("dog/0.png", "katze/0.png", "katze/1.png")


def test_a_link_to_a_folder_above_ends(tmp_path):
    write(tmp_path, two_classes(1))
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    assert list_images(tmp_path) == ["cat/0.png", "dog/0.png"]


def test_dangling_links_and_pipes_are_no_files(tmp_path):
    write(tmp_path, two_classes(1))
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    assert list_images(tmp_path) == ["cat/0.png", "dog/0.png"]


# --- names ------------------------------------------------------------------------------------------------------
def test_names_are_only_data(tmp_path):
    odd = ["Häuschen", "日本 犬", "a'b\"c", "{} %s $HOME", "-rf", "x" * 200, "a\nb", "polar_bear"]
    contents = {f"{name}/{i}.png": encoded() for name in odd for i in range(2)}
    folder = by_folder(write(tmp_path / "f", contents), 8)
    assert set(folder.class_names) == {"Häuschen", "日本 犬", "a'b\"c", "{} %s $HOME", "-rf", "x" * 200, "a b", "polar bear"}
    assert same(folder, by_folder(pack(tmp_path / "f.tar", contents), 8))


def test_decomposed_letters_are_composed(tmp_path):
    assert by_folder(write(tmp_path, {"Ha\u0308uschen/1.png": encoded()}), 8).class_names == ("H\u00e4uschen",)


@pytest.mark.parametrize(
    "a, b", [("polar_bear", "Polar bear"), ("dog", "DOG"), ("a  b", "a_b"), ("H\u00e4", "Ha\u0308"), ("straße", "STRASSE")]
)
def test_two_folders_of_one_class_are_refused(tmp_path, a, b):
    with pytest.raises(DataError, match="name the same class") as refusal:
        by_folder(pack(tmp_path / "a.tar", {f"{a}/1.png": encoded(), f"{b}/1.png": encoded()}), 8)
    assert repr(a) in str(refusal.value) and repr(b) in str(refusal.value)


def test_a_class_without_a_name_is_refused(tmp_path):
    with pytest.raises(DataError, match="'__' gives no class name"):
        by_folder(write(tmp_path, {"__/1.png": encoded(), "cat/1.png": encoded()}), 8)


def test_names_that_are_no_text_are_refused(tmp_path):
    folder = tmp_path / "f" / "cat"
    folder.mkdir(parents=True)
    (folder / os.fsdecode(b"\xff\xfe.png")).write_bytes(encoded())
    with pytest.raises(DataError, match=r"not UTF-8.*rename") as refusal:
        by_folder(tmp_path / "f", 8)
    str(refusal.value).encode()
    with pytest.raises(DataError, match="not UTF-8"):
        list_images(pack(tmp_path / "f.tar", {os.fsdecode(b"cat/\xff.png"): encoded()}))


# --- what is refused --------------------------------------------------------------------------------------------
def bomb(width, height):
    """A PNG header of ``width`` x ``height`` pixels and next to no content."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


UNREADABLE = {
    "text": b"this is no image",
    "empty": b"",
    "truncated-jpeg": encoded(picture(size=(200, 200)), "JPEG")[:-2000],
    "truncated-png": encoded(picture(size=(200, 200)))[:2000],
    "cut-header": encoded()[:20],
    "bomb": bomb(60_000, 60_000),
    "large": bomb(9_000, 9_000),
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n",
    "tiff": encoded(format="TIFF"),
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("place", ["folder", "tar"])
def test_an_unreadable_image_is_named(tmp_path, kind, place):
    contents = two_classes() | {"cat/broken.png": UNREADABLE[kind]}
    path = write(tmp_path / "f", contents) if place == "folder" else pack(tmp_path / "f.tar", contents)
    for read in (by_folder, loose):
        with pytest.raises(DataError, match=r"1 unreadable images: .*cat/broken\.png") as refusal:
            read(path, 32)
        assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_disguised_eps_never_reaches_ghostscript(monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was started"))
    with pytest.raises(ValueError, match="no image"):
        decode_square(UNREADABLE["eps"], 32)


def test_many_unreadable_images_are_one_sentence(tmp_path):
    write(tmp_path, {f"cat/{i}.png": b"no" for i in range(9)})
    with pytest.raises(DataError, match=r"9 unreadable images.*and 4 more"):
        by_folder(tmp_path, 8)


def test_a_bomb_is_refused_before_its_pixels_are_made(monkeypatch):
    monkeypatch.setattr(Image.Image, "convert", lambda *a: pytest.fail("decoded"))
    for size in ((60_000, 60_000), (9_000, 9_000)):
        with pytest.raises(ValueError):
            decode_square(bomb(*size), 32)


@pytest.mark.parametrize("place", ["folder", "tar"])
def test_a_file_larger_than_the_limit_is_not_read(tmp_path, monkeypatch, place):
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2**20)
    contents = two_classes(1) | {"cat/huge.png": bytes(2**20 + 1)}
    path = write(tmp_path / "f", contents) if place == "folder" else pack(tmp_path / "f.tar", contents)
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"" if self.stat().st_size <= 2**20 else pytest.fail("read"))
    with pytest.raises(DataError, match=r"cat/huge\.png is larger than 1 MiB"):
        by_folder(path, 8)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    write(tmp_path, two_classes(1))
    monkeypatch.setattr(Path, "read_bytes", lambda self: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(DataError, match=r"cat/0\.png cannot be read \(Permission denied\)"):
        by_folder(tmp_path, 8)


def test_an_empty_class_folder_is_refused(tmp_path):
    write(tmp_path, two_classes(1))
    (tmp_path / "emu").mkdir()
    with pytest.raises(DataError, match="class folders without images: 'emu'"):
        by_folder(tmp_path, 8)


def test_classes_with_too_few_images_are_named(tmp_path):
    images = by_folder(write(tmp_path, two_classes(3) | {"emu/1.png": encoded()}), 8)
    with pytest.raises(DataError, match="fewer than two images: 'emu';"):
        refuse_single_images(images, "here")
    with pytest.raises(DataError, match="fewer than three images: 'emu';"):
        refuse_single_images(images, "here", 3)
    refuse_single_images(by_folder(write(tmp_path, {"emu/2.png": encoded()}), 8), "here")


def test_what_may_not_be_looked_into_is_named(tmp_path, monkeypatch):
    place = write(tmp_path, two_classes(2))
    own = Path.is_file

    def is_file(path):
        if path.name == "1.png":
            raise PermissionError(13, "Permission denied", str(path))
        return own(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    with pytest.raises(DataError, match=r"1\.png cannot be read \(Permission denied\)"):
        list(files_below(place))


@pytest.mark.parametrize("read", [by_folder, loose])
def test_nothing_to_read(tmp_path, read):
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "gone", 8)
    with pytest.raises(DataError, match="holds no images"):
        read(write(tmp_path, {"readme.txt": b"x"}), 8)


def test_images_outside_class_folders_are_no_classes(tmp_path):
    with pytest.raises(DataError, match=r"holds no images in class folders; expected CLASS/IMAGE"):
        by_folder(write(tmp_path, {"1.png": encoded()}), 8)


def test_first_content(tmp_path):
    contents = two_classes(2)
    found = open_place(write(tmp_path, contents))
    assert first_content(found, ("dog/1.png", "cat/1.png")) == contents["dog/1.png"]


def test_images_that_are_gone_since_are_no_images(tmp_path):
    found = open_place(write(tmp_path, two_classes(2)))
    with pytest.raises(DataError, match=r"holds 3 of 4 images that it lists"):
        labelled(dataclasses.replace(found, read=lambda keys: itertools.islice(found.read(keys), 3)), 8)


# --- tars -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("content", [b"not a tar at all" * 100, b"", b"\x1f\x8b" + bytes(600)])
def test_not_a_tar(tmp_path, content):
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar is neither a folder nor a readable, uncompressed tar"):
        by_folder(path, 8)


def test_a_compressed_tar_says_so(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cat/1.png"))
    with pytest.raises(DataError, match="uncompressed tar"):
        list_images(tmp_path / "x.tar.gz")


@pytest.mark.parametrize("cut", [100, 5000, 11_264 + 700])
def test_a_truncated_tar_is_refused(tmp_path, cut):
    whole = pack(tmp_path / "x.tar", two_classes()).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:cut])
    with pytest.raises(DataError, match=r"x\.tar is (damaged|neither)"):
        by_folder(tmp_path / "x.tar", 8)


def test_a_broken_header_is_not_taken_for_the_end(tmp_path):
    path = pack(tmp_path / "x.tar", two_classes())
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[3].offset
    content[offset + 10] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=f"damaged .*byte {offset}"):
        list_images(path)


def test_a_tar_without_its_closing_blocks_is_whole(tmp_path):
    path = pack(tmp_path / "x.tar", two_classes(1))
    with tarfile.open(path) as tar:
        end = [tar.offset for _ in tar][-1]
    path.write_bytes(path.read_bytes()[:end])
    assert list_images(path) == ["cat/0.png", "dog/0.png"]


def test_a_name_twice_in_a_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for content in (encoded(picture(1)), encoded(picture(2))):
            member = tarfile.TarInfo("cat/1.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    with pytest.raises(DataError, match=r"the same name twice: 'cat/1\.png'"):
        list_images(tmp_path / "x.tar")


def test_hostile_members_are_neither_read_nor_written(tmp_path):
    secret = write(tmp_path, {"secret.png": encoded(picture(99))}) / "secret.png"
    hostile = {
        "a": special("cat/link.png", tarfile.SYMTYPE, str(secret)),
        "b": special("cat/hard.png", tarfile.LNKTYPE, "cat/0.png"),
        "c": special("cat/null.png", tarfile.CHRTYPE),
        "d": special("cat/disk.png", tarfile.BLKTYPE),
        "e": special("cat/pipe.png", tarfile.FIFOTYPE),
        "f": special("cat/folder.png", tarfile.DIRTYPE),
        "../cat/up.png": encoded(),
        "cat/../../up.png": encoded(),
        "/abs/cat/0.png": encoded(),
    }
    (tmp_path / "in").mkdir()
    path = pack(tmp_path / "in" / "x.tar", hostile | two_classes(2))
    before = sorted(tmp_path.rglob("*"))
    images = by_folder(path, 32)
    assert images.keys == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tar_of_long_name_headers_is_refused(tmp_path):
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 2
    block = member.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(block * 3000)
    with pytest.raises(DataError, match=r"damaged|neither"):
        list_images(tmp_path / "x.tar")


# --- modes and sizes --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "mode, format",
    [("L", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("CMYK", "JPEG"), ("L", "JPEG"), ("P", "GIF")],
)
def test_other_modes_become_rgb(mode, format):
    image = picture(mode=mode)
    decoded = decode_square(encoded(image, format), 32)
    assert decoded.shape == (32, 32, 3) and decoded.dtype == np.uint8
    if format == "PNG":
        assert np.array_equal(decoded, image.convert("RGB"))


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.linspace(0, 65535, 1024).round().astype(np.uint16).reshape(32, 32)
    decoded = decode_square(encoded(Image.fromarray(ramp)), 32)
    assert np.array_equal(decoded[..., 0], ramp >> 8) and np.array_equal(decoded[..., 0], decoded[..., 2])


@pytest.mark.parametrize("size", [(32, 32), (64, 32), (31, 90), (1, 1), (1, 300), (5000, 3)])
def test_any_size_is_squared(size):
    assert decode_square(encoded(picture(size=size)), 16).shape == (16, 16, 3)


def test_the_centre_is_kept():
    wide = Image.new("RGB", (96, 32), (255, 0, 0))
    wide.paste((0, 255, 0), (32, 0, 64, 32))
    assert (decode_square(encoded(wide), 32) == (0, 255, 0)).all()
    assert (decode_square(encoded(wide), 16)[:, 2:-2] == (0, 255, 0)).all()


def test_what_fits_is_not_resampled():
    assert np.array_equal(decode_square(encoded(picture(3)), 32), picture(3))
