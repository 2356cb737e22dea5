"""Whatever lies at a place: every image comes by name and in order, and what cannot be read comes with its reason."""

import io
import itertools
import os
import runpy
import tarfile
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.data.files import MAX_FILE_BYTES
from dogfast.detection.inputs import read_inputs

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
PNG = helpers.png()


def names(*places):
    return [Path(item.name).name for item in read_inputs(map(str, places)) if not item.fault]


def faults(*places):
    return {Path(item.name).name: item.fault for item in read_inputs(map(str, places)) if item.fault}


def plant(folder, *files):
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)
    return folder


def packed(path, *members):
    path.write_bytes(helpers.pack(members))
    return path


def test_files_folders_and_tars_in_the_order_they_are_named(tmp_path):
    folder = plant(tmp_path / "folder", "b/2.png", "b/1.jpg", "a/3.webp", "0.PNG")
    tar = packed(tmp_path / "x.tar", ("z/9.png", PNG), ("a/8.png", PNG), ("notes.txt", b"x"))
    single = plant(tmp_path, "one.bmp") / "one.bmp"
    assert names(single, tar, folder) == ["one.bmp", "9.png", "8.png", "0.PNG", "3.webp", "1.jpg", "2.png"]
    assert {item.content for item in read_inputs([str(tar), str(folder)])} == {PNG}


def test_names_say_where_an_image_lies(tmp_path):
    tar = packed(tmp_path / "x.tar", ("a/8.png", PNG))
    assert [item.name for item in read_inputs([str(tar)])] == [f"{tar}/a/8.png"]


def test_a_folder_of_tars_is_read_and_hidden_files_are_not(tmp_path):
    plant(tmp_path, "1.png", ".hidden.png", ".thumbs/2.png", "readme.txt")
    packed(tmp_path / "set.tar", ("3.png", PNG))
    packed(tmp_path / ".part.tar", ("4.png", PNG))
    assert names(tmp_path) == ["1.png", "3.png"]


def test_shards_are_read_by_their_records_and_a_damaged_one_is_named(tmp_path):
    for shard in range(3):
        helpers.commit(tmp_path / "dog", shard, count=2)
    assert names(tmp_path / "dog") == [f"{shard:05d}{index:04d}.png" for shard in range(3) for index in range(2)]
    tar = tmp_path / "dog" / "train-00001.tar"
    tar.write_bytes(tar.read_bytes()[:-2000])
    found = list(read_inputs([str(tmp_path / "dog")]))
    assert [bool(item.fault) for item in found] == [False, False, True, False, False]
    assert "train-00001.tar is damaged" in found[2].fault


def test_shards_at_a_store_are_read_too(tmp_path):
    helpers.commit(tmp_path / "dog", 0, count=2)
    assert names(f"file://{tmp_path / 'dog'}") == ["000000000.png", "000000001.png"]
    assert "holds no shards" in next(iter(faults("memory://nothing").values()))


def test_latents_are_no_images(tmp_path):
    helpers.commit_latents(tmp_path / "dog-latent")
    assert list(faults(tmp_path / "dog-latent").values()) == [f"{tmp_path / 'dog-latent'} holds latents, no images"]


def test_what_cannot_be_read_is_named_and_the_others_come(tmp_path):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    with open(tmp_path / "huge.png", "wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    torn = packed(tmp_path / "torn.tar", ("1.png", PNG), ("2.png", PNG))
    torn.write_bytes(torn.read_bytes()[:700])
    (tmp_path / "no.tar").write_bytes(b"PK" * 600)
    places = [tmp_path / name for name in ("gone.png", "empty", "pipe.png", "huge.png", "torn.tar", "no.tar")]
    good = plant(tmp_path, "good.png") / "good.png"
    assert names(*places, good) == ["good.png"]
    told = faults(*places, good, "https://example.org/x.png")
    assert told.keys() == {"gone.png", "empty", "pipe.png", "huge.png", "torn.tar", "no.tar", "x.png"}
    assert told["gone.png"] == "it does not exist" and told["pipe.png"] == "it is no file"
    assert "larger than 64 MiB" in told["huge.png"] and "no whole, uncompressed tar" in told["torn.tar"]
    assert "holds no images" in told["empty"]


def member(name, type=tarfile.REGTYPE, size=0, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = type, size, linkname
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member("1.png", tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("1.png", tarfile.LNKTYPE, linkname="../x"),
        member("1.png", tarfile.CHRTYPE),
        member("../1.png"),
        member("/1.png"),
    ],
    ids=["link", "hard link", "device", "parent", "absolute"],
)
def test_of_a_tar_only_plain_files_below_its_root_are_images(tmp_path, hostile):
    packed(tmp_path / "x.tar", (hostile, b""), ("2.png", PNG))
    assert names(tmp_path / "x.tar") == ["2.png"]


def test_a_member_that_is_too_large_is_not_read(tmp_path):
    huge = member("1.png", size=MAX_FILE_BYTES + 512).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "x.tar").write_bytes(huge + PNG)
    told = faults(tmp_path / "x.tar")
    assert "larger than 64 MiB" in told["1.png"]


def test_a_header_that_is_broken_is_no_end(tmp_path):
    tar = packed(tmp_path / "x.tar", ("1.png", PNG), ("2.png", PNG))
    content = bytearray(tar.read_bytes())
    second = bytes(content).rindex(b"2.png")
    content[second + 148 : second + 156] = b"99999999"
    tar.write_bytes(content)
    assert names(tar) == ["1.png"] and "no header at byte" in faults(tar)["x.tar"]


def test_memory_does_not_grow_with_the_members_of_a_tar(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for number in range(4000):
            info = tarfile.TarInfo(f"{number}.png")
            tar.addfile(info, io.BytesIO())
    (tmp_path / "x.tar").write_bytes(buffer.getvalue())
    del buffer
    tracemalloc.start()
    inputs = read_inputs([str(tmp_path / "x.tar")])
    assert sum(1 for _ in itertools.islice(inputs, 4000)) == 4000
    held = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, tarfile.__file__)])
    tracemalloc.stop()
    assert sum(trace.size for trace in held.traces) < 2**19, "a TarInfo is some 700 bytes"
