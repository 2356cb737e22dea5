"""Shards of latents: NPY members that everyone reads, loaded whole, and never taken for images."""

import hashlib
import io
import json
import runpy
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from dogfast.errors import DataError
from dogfast.shards.card import card
from dogfast.shards.latents import decode_latent, encode_latent, load_latents
from dogfast.shards.reader import holds_latents, load_outliers, read_shard, require_images
from dogfast.shards.verify import verify
from dogfast.shards.writer import encode_sample

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "helpers.py")))


# --- one latent -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("side, width", [(1, 1), (8, 8), (8, 5), (64, 64)])
def test_a_latent_comes_back_bit_by_bit(tmp_path, side, width):
    latent = helpers.latent(3, side, width)
    sample = encode_sample(latent, helpers.facts(side=side, width=width))
    assert sample.suffix == "npy"
    found = decode_latent(tmp_path / "x.tar", sample)
    assert found.dtype == np.float16 and found.tobytes() == latent.tobytes() and found.shape == latent.shape


def test_the_file_is_what_numpy_writes_and_reads():
    buffer = io.BytesIO()
    np.save(buffer, helpers.latent(), allow_pickle=False)
    assert encode_latent(helpers.latent()) == buffer.getvalue()


# --- who can read it --------------------------------------------------------------------------------------------
def test_plain_tarfile_and_numpy_read_it(tmp_path):
    helpers.commit_latents(tmp_path)
    with tarfile.open(tmp_path / "train-00000.tar") as tar:
        assert tar.getnames() == [f"00000000{n}.{suffix}" for n in range(3) for suffix in ("json", "npy")]
        found = np.load(io.BytesIO(tar.extractfile("000000001.npy").read()), allow_pickle=False)
    assert np.array_equal(found, helpers.latent(1)) and found.dtype == np.float16


def test_webdataset_reads_it(tmp_path):
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    helpers.commit_latents(tmp_path, count=4)
    found = list(wds.WebDataset(str(tmp_path / "train-00000.tar"), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in found] == [f"00000000{n}" for n in range(4)]
    assert found[1]["json"] == helpers.facts(0, 1).to_dict() and np.array_equal(found[1]["npy"], helpers.latent(1))


def test_hugging_face_datasets_streams_it(tmp_path, monkeypatch):
    for name, value in {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    for shard in range(2):
        helpers.commit_latents(tmp_path / "set", shard)
    files = sorted(str(path) for path in (tmp_path / "set").glob("*.tar"))
    stream = datasets.load_dataset("webdataset", data_files={"train": files}, streaming=True, cache_dir=str(tmp_path / "cache"))
    found = list(stream["train"])
    assert [sample["__key__"] for sample in found] == [f"{shard:05d}{n:04d}" for shard in range(2) for n in range(3)]
    assert found[4]["json"] == helpers.facts(1, 1).to_dict()
    assert np.array_equal(np.asarray(found[4]["npy"], np.float16), helpers.latent(11))


# --- all of a folder --------------------------------------------------------------------------------------------
def test_latents_of_all_shards_are_loaded_in_order(tmp_path):
    for shard in (1, 0):
        helpers.commit_latents(tmp_path, shard)
    loaded = load_latents(tmp_path)
    assert loaded.values.shape == (6, 4, 8, 8) and loaded.values.dtype == torch.float16 and len(loaded) == 6
    assert [f["key"] for f in loaded.facts] == [f"{shard:05d}{n:04d}" for shard in range(2) for n in range(3)]
    assert np.array_equal(loaded.values[4].numpy(), helpers.latent(11))
    some = load_latents(tmp_path, lambda facts: facts["key"].endswith("2"))
    assert torch.equal(some.values, loaded.values[[2, 5]]) and len(load_latents(tmp_path, lambda facts: False)) == 0


def test_a_folder_without_latents_says_what_to_run(tmp_path):
    helpers.commit_latents(tmp_path / "none", count=0)
    for name in ("none", "gone"):
        with pytest.raises(DataError, match="no committed latents; run `dogfast generate --output-kind latent`"):
            load_latents(tmp_path / name)


def test_latents_of_two_sizes_are_refused(tmp_path):
    helpers.commit_latents(tmp_path, 0)
    helpers.commit_latents(tmp_path, 1, side=4)
    with pytest.raises(DataError, match=r"train-00001\.tar: .* another shape"):
        load_latents(tmp_path)


def test_neither_kind_is_taken_for_the_other(tmp_path):
    helpers.commit_latents(tmp_path / "latents")
    helpers.commit(tmp_path / "images")
    assert holds_latents(tmp_path / "latents") and not holds_latents(tmp_path / "images")
    require_images(tmp_path / "images")
    for refuse in (require_images, lambda folder: load_outliers(folder, 8)):
        with pytest.raises(DataError, match="holds latents, which only the objective `oal` will learn from"):
            refuse(tmp_path / "latents")
    with pytest.raises(DataError, match=r"holds images, no latents; .*--output-kind latent"):
        load_latents(tmp_path / "images")


@pytest.mark.parametrize("record", [None, b"{", b"[]", b'{"kind": 7}'])
def test_what_has_no_proper_record_is_not_called_latents(tmp_path, record):
    if record is not None:
        (tmp_path / "records").mkdir()
        (tmp_path / "records" / "00000.json").write_bytes(record)
    assert not holds_latents(tmp_path)


# --- whole or not -----------------------------------------------------------------------------------------------
def test_whole_shards_of_latents_are_found_whole(tmp_path):
    helpers.commit_latents(tmp_path)
    helpers.commit_latents(tmp_path, 1)
    assert list(verify(tmp_path)) == [None, None]


def test_other_values_than_were_painted_are_found(tmp_path):
    """Where the tar's own digest was renewed, only the latents tell."""
    helpers.commit_latents(tmp_path)
    other = helpers.commit_latents(tmp_path / "other", 0, seed=5)
    swapped = [encode_sample(helpers.latent(n), helpers.facts(0, n, anchor="x")) for n in (1, 0, 2)]
    from dogfast.shards.writer import tar_bytes

    for samples, reason in ((swapped, "not those that were painted"), (swapped[:2], "its record says 3")):
        content = tar_bytes([type(s)(s.facts | {"key": f"00000000{n}"}, s.content, s.suffix) for n, s in enumerate(samples)])
        record = {**other, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        (tmp_path / "train-00000.tar").write_bytes(content)
        (tmp_path / "records" / "00000.json").write_text(json.dumps(record))
        (fault,) = verify(tmp_path)
        assert reason in fault.reason


def test_a_shard_of_the_other_kind_is_found(tmp_path):
    images, latents = helpers.commit(tmp_path / "a"), helpers.commit_latents(tmp_path / "b")
    for name, record, kind in (("a", images, "latent"), ("b", latents, "image")):
        path = tmp_path / name / "records" / "00000.json"
        path.write_text(json.dumps(record | {"kind": kind}))
        (fault,) = verify(tmp_path / name)
        assert "holds" in fault.reason
        assert list(read_shard(tmp_path / name / record["tar"], record["sha256"]))


# --- the card ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("source, title", [("dog-latent", "Outliers for"), ("id-control-latent", "ID classes of")])
def test_the_card_of_latents_says_what_decodes_them(source, title):
    text = card("shapes", source, "tiny", "r0", [{"samples": 3}], "latent")
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"
    assert f"# {title}" in text and "3 latents in 1 tars" in text
    assert "`<key>.npy`, float16 (channels, height, width)" in text and "`scaling_factor`" in text
