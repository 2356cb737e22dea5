"""A shard on disk: the same bytes every time, readable by everyone, committed or absent."""

import hashlib
import io
import json
import os
import runpy
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import dogfast.run
from dogfast.errors import EnvironmentFault
from dogfast.run import sweep_partial
from dogfast.shards.format import Facts
from dogfast.shards.reader import decode_image, read_records, read_shard
from dogfast.shards.writer import encode_sample, tar_bytes

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "helpers.py")))


# --- bytes ------------------------------------------------------------------------------------------------------
def test_the_same_samples_give_the_same_bytes(monkeypatch):
    first = tar_bytes(helpers.samples())
    monkeypatch.setattr("time.time", lambda: 4e9)
    monkeypatch.setenv("USER", "somebody")
    assert tar_bytes(helpers.samples()) == first
    assert tar_bytes(helpers.samples(seed=1)) != first and tar_bytes(helpers.samples(count=2)) != first


@pytest.mark.parametrize("side, suffix, names", [(64, "png", ("json", "png")), (65, "jpg", ("jpg", "json"))])
def test_members_are_anonymous_ageless_and_in_order(side, suffix, names):
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(helpers.samples(2, side=side)))) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == [f"0000200{n:02}.{name}" for n in range(3) for name in names]
    for m in members:
        assert (m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) == (0, 0, 0, "", "", 0o444)
        assert m.isreg() and not m.pax_headers


def test_the_json_has_constant_keys_and_types_and_no_nulls():
    samples = [*helpers.samples(), *helpers.samples(synset="oval.n.01", status="resampled", attempt=2)]
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(samples))) as tar:
        bodies = [tar.extractfile(m).read() for m in tar if m.name.endswith(".json")]
    plain = [json.loads(body) for body in bodies]
    kinds = [{key: type(value) for key, value in facts.items()} for facts in plain]
    assert len(bodies) == 6 and all(kind == kinds[0] for kind in kinds) and type(None) not in kinds[0].values()
    assert kinds[0].keys() == Facts.__annotations__.keys()
    assert plain[0]["class_name"] == "ring/of ☃" and plain[0]["seed"] == 2**53 - 1
    assert all(list(facts) == sorted(facts) for facts in plain)


@pytest.mark.parametrize("height, width, suffix", [(64, 64, "png"), (8, 64, "png"), (65, 8, "jpg"), (8, 65, "jpg")])
def test_small_images_are_png_and_exact_larger_ones_jpeg(tmp_path, height, width, suffix):
    smooth = np.linspace(0, 255, height * width * 3).reshape(height, width, 3).astype(np.uint8)
    sample = encode_sample(smooth, helpers.facts(side=height, width=width))
    assert sample.suffix == suffix
    decoded = decode_image(tmp_path / "x.tar", sample)
    assert decoded.shape == smooth.shape
    difference = np.abs(decoded.astype(int) - smooth).max()
    assert difference == 0 if suffix == "png" else difference < 12
    if suffix == "jpg":
        from PIL import JpegImagePlugin

        assert JpegImagePlugin.get_sampling(Image.open(io.BytesIO(sample.content))) == 0


# --- who can read it --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side", [8, 72])
def test_webdataset_reads_it(tmp_path, side):
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    helpers.commit(tmp_path, count=4, side=side)
    found = list(wds.WebDataset(str(tmp_path / "train-00000.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [f"00000000{n}" for n in range(4)]
    assert json.loads(found[1]["json"]) == helpers.facts(0, 1, side).to_dict()
    assert Image.open(io.BytesIO(found[1]["png" if side == 8 else "jpg"])).size == (side, side)


def test_hugging_face_datasets_streams_it(tmp_path, monkeypatch):
    for name, value in {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    for shard in range(2):
        helpers.commit(tmp_path / "set", shard, count=3)
    files = sorted(str(path) for path in (tmp_path / "set").glob("*.tar"))
    stream = datasets.load_dataset("webdataset", data_files={"train": files}, streaming=True, cache_dir=str(tmp_path / "cache"))
    found = list(stream["train"])
    assert [sample["__key__"] for sample in found] == [f"{shard:05d}{n:04d}" for shard in range(2) for n in range(3)]
    assert found[4]["json"] == helpers.facts(1, 1).to_dict()
    assert np.array_equal(np.asarray(found[4]["png"]), helpers.image(1))


# --- the record -------------------------------------------------------------------------------------------------
def test_the_record_tells_what_the_tar_is(tmp_path):
    record = helpers.commit(tmp_path, 3, count=2)
    content = (tmp_path / "train-00003.tar").read_bytes()
    assert record == json.loads((tmp_path / "records" / "00003.json").read_text())
    assert (record["shard"], record["tar"], record["samples"], record["failed"]) == (3, "train-00003.tar", 2, 0)
    assert (record["bytes"], record["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert record["pixel_sha256"] == hashlib.sha256().hexdigest()
    assert read_records(tmp_path) == [record]


def test_a_shard_without_samples_is_a_shard(tmp_path):
    record = helpers.commit(tmp_path, count=0)
    assert list(read_shard(tmp_path / record["tar"], record["sha256"])) == []


# --- crashes ----------------------------------------------------------------------------------------------------
class Died(BaseException):
    """In the place of a power cut: nothing but the test catches it."""


def dying(monkeypatch, moment):
    """Let the process "die" at the ``moment``-th half of a call of fsync or replace: before it acts, or after."""
    halves = iter(range(1000))

    def guarded(plain):
        def call(*given):
            if next(halves) == moment:
                raise Died
            plain(*given)
            if next(halves) == moment:
                raise Died

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(dogfast.run.os, name, guarded(getattr(os, name)))


STEPS = 16
"""Before and after fsync of a new folder's parent, fsync, replace and fsync of the folder, of the tar and of the record."""


@pytest.mark.parametrize("moment", range(STEPS + 1))
def test_a_crash_leaves_a_shard_committed_or_absent(tmp_path, moment):
    helpers.commit(tmp_path / "whole")
    folder = tmp_path / "torn"
    with pytest.MonkeyPatch.context() as patch:
        dying(patch, moment)
        if moment < STEPS:
            with pytest.raises(Died):
                helpers.commit(folder)
        else:
            helpers.commit(folder)
    records = read_records(folder)
    assert len(records) == (moment >= 13), "a shard counts from the rename of its record on, and not before"
    for record in records:
        assert len(list(read_shard(folder / record["tar"], record["sha256"]))) == 3
    for place in (folder, folder / "records"):
        sweep_partial(place)
    helpers.commit(folder)
    shown = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert shown == {"train-00000.tar", "records", "records/00000.json"}
    for name in ("train-00000.tar", "records/00000.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_order_is_data_then_record_each_synced_before_its_name_appears(tmp_path, monkeypatch):
    (tmp_path / "records").mkdir()
    log, opened = [], {}
    plain_open = os.open

    def record_open(path, *given, **named):
        descriptor = plain_open(path, *given, **named)
        opened[descriptor] = Path(path)
        return descriptor

    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "open", record_open)
    monkeypatch.setattr(os, "fsync", lambda fd: (log.append(("fsync", os.readlink(f"/proc/self/fd/{fd}"))), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (log.append(("replace", str(b))), replace(a, b)))
    helpers.commit(tmp_path)
    kinds = [(what, Path(path).name.split(".part-")[0]) for what, path in log]
    assert kinds == [
        ("fsync", ".train-00000.tar"),
        ("replace", "train-00000.tar"),
        ("fsync", tmp_path.name),
        ("fsync", ".00000.json"),
        ("replace", "00000.json"),
        ("fsync", "records"),
    ]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    helpers.commit(tmp_path, 0)

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dogfast.run.os, "fsync", full)
    with pytest.raises(EnvironmentFault, match=r"train-00001\.tar: No space left"):
        helpers.commit(tmp_path, 1)
    assert [path.name for path in tmp_path.glob("*.tar")] == ["train-00000.tar"]
    assert not list(tmp_path.rglob("*.part-*")) and len(read_records(tmp_path)) == 1
