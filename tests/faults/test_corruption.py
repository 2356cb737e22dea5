"""Bits that flip on a disk: each is named or does not matter, readers refuse, and repair gives the same bytes again."""

import json
import random
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, launch
from dogfast.shards.reader import load_outliers
from dogfast.shards.verify import verify
from dogfast.synthesis.stage import generate
from dogfast.workflows.shards import repair_shards

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
TAR, RECORD = "train-00001.tar", "records/00001.json"
DECISIVE = ("shard", "tar", "samples", "bytes", "sha256", "pixel_sha256")
"""What a record says of its tar; the rest tells how it was painted."""


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    root = tmp_path_factory.mktemp("corruption") / "run"
    config = fakes.config()
    with fakes.installed(), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        generate(config, run, Events())
    return root


@pytest.fixture
def run(painted, tmp_path):
    shutil.copytree(painted, tmp_path / "run")
    return Run(tmp_path / "run")


def flipped(path, chance):
    """One bit of ``path`` is the other one; where."""
    content = bytearray(path.read_bytes())
    place = chance.randrange(len(content))
    content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    return f"byte {place}"


def decisive(path):
    return [json.loads(path.read_text()).get(name) for name in DECISIVE]


@pytest.mark.parametrize("seed", range(2))
def test_every_flipped_bit_of_a_tar_is_named_and_refused(run, seed):
    chance, path = random.Random(seed), run.outliers("dog") / TAR
    whole = path.read_bytes()
    for _ in range(15):
        place = flipped(path, chance)
        (found,) = [fault for fault in verify(run.outliers("dog")) if fault]
        assert found.record.name == "00001.json" and TAR in found.reason and "SHA-256" in found.reason, place
        with pytest.raises(DataError, match=TAR):
            load_outliers(run.outliers("dog"), 16)
        path.write_bytes(whole)


@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_of_a_record_is_named_or_says_nothing_of_the_tar(run, seed):
    chance, path = random.Random(seed), run.outliers("dog") / RECORD
    whole, named = path.read_bytes(), 0
    said = decisive(path)
    for _ in range(40):
        place = flipped(path, chance)
        found = [fault for fault in verify(run.outliers("dog")) if fault]
        assert [fault.record.name for fault in found] in ([], ["00001.json"])
        assert found or decisive(path) == said, place
        named += len(found)
        path.write_bytes(whole)
    assert named >= 10


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 1000, -1, -512])
def test_a_cut_file_is_named(run, cut):
    for name in (TAR, RECORD):
        path = run.outliers("dog") / name
        whole = path.read_bytes()
        path.write_bytes(whole[:cut])
        if path.read_bytes().strip() != whole.strip():
            assert [fault.record.name for fault in verify(run.outliers("dog")) if fault] == ["00001.json"]
        path.write_bytes(whole)


@pytest.mark.parametrize("seed", range(3))
def test_repair_gives_the_same_bytes_again(run, painted, seed):
    chance, folder = random.Random(seed), run.outliers("dog")
    for name in (TAR, RECORD) if seed else (TAR, "train-00000.tar", "train-00002.tar"):
        flipped(folder / name, chance)
    with fakes.installed():
        repaired = repair_shards(fakes.config(), run, Events(), "")["repaired"]["dog"]
    assert [one["record"] for one in repaired] == (["00001.json"] if seed else [f"0000{n}.json" for n in range(3)])
    assert fakes.tars(folder) == fakes.tars(painted / "outliers" / "dog")
    assert not any(verify(folder)) and not fakes.leftovers(run.root)
