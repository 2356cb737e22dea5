"""A disk that fills up while shards are written: what was committed stays, nothing torn is left, and freeing it heals."""

import errno
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

import dogfast.run
import dogfast.synthesis.space as space
from dogfast.errors import EnvironmentFault
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.reader import read_records
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))


def paint(root):
    config = fakes.config(m=8, samples_per_shard=4)
    with fakes.installed(), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events())


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    root = tmp_path_factory.mktemp("calm") / "run"
    paint(root)
    return fakes.tars(root / "outliers" / "dog")


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT], ids=["disk", "quota"])
@pytest.mark.parametrize("room", [16, 20, 21, 24, 29])
def test_a_full_disk_ends_the_command_and_loses_nothing(tmp_path, monkeypatch, calm, kind, room):
    """So many calls of fsync find room; those of the run, its configuration, conditions and plan come first."""
    left = iter(range(room))

    def fsync(descriptor, plain=os.fsync):
        if next(left, None) is None:
            raise OSError(kind, os.strerror(kind))
        plain(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(dogfast.run.os, "fsync", fsync)
        with pytest.raises(EnvironmentFault, match=f"cannot write .*{os.strerror(kind)}; free space"):
            paint(tmp_path / "run")
    folder = tmp_path / "run" / "outliers" / "dog"
    kept = {record["tar"] for record in read_records(folder)}
    assert len(kept) < 6 and all(fakes.tars(folder)[name] == calm[name] for name in kept)
    assert not fakes.leftovers(tmp_path / "run")
    assert paint(tmp_path / "run")["resumed_shards"] == len(kept)
    assert fakes.tars(folder) == calm


def test_a_disk_that_is_too_small_is_told_before_anything_is_painted(tmp_path, monkeypatch):
    monkeypatch.setattr(space, "free_bytes", lambda folder: 200_000)
    assert paint(tmp_path / "fits")["outliers"] == 24
    calls, config = [], fakes.config(m=500)
    with fakes.installed(calls=calls), launch(tmp_path / "run", config.to_toml()) as run:
        fakes.write_conditions(config, run, Events())
        with pytest.raises(EnvironmentFault, match=r"1500 outliers take about \d+ MiB, .* has 0 MiB left; free some"):
            generate(config, run, Events())
    assert not calls and not list((tmp_path / "run").rglob("*.tar"))


def test_what_was_painted_says_how_much_an_outlier_takes():
    records = [{"samples": 3, "bytes": 3000}, {"samples": 1, "bytes": 5000}]
    assert space.bytes_of_one(fakes.config(), fakes.FakePipeline(None, "fake"), records) == 2000
    assert space.bytes_of_one(fakes.config(), fakes.FakePipeline(None, "fake"), []) == fakes.SIDE**2 * 2 + 2560
