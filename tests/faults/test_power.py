"""A power cut: what a file says is on the disk before its name is, and its name before anything that counts on it."""

import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

import dogfast.run
from dogfast.events import Events
from dogfast.run import launch, publish
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are named by /proc")


class Disk:
    """A disk that forgets what was not synced: what it has of each file and of each folder's names."""

    def __init__(self, patch, root):
        self.root, self.log = str(root), []
        self.contents, self.names = set(), set()
        for name in ("fsync", "replace", "mkdir"):
            patch.setattr(dogfast.run.os, name, self.watching(name, getattr(os, name)))

    def watching(self, name, plain):
        def call(first, *others, **named):
            place = os.readlink(f"/proc/self/fd/{first}") if name == "fsync" else str(others[0] if name == "replace" else first)
            if name == "replace":
                assert str(first) in self.contents, f"{place} gets its name before its content is on the disk"
                self.contents.add(place)
            result = plain(first, *others, **named)
            if place.startswith(self.root):
                self.log.append((name, place))
                if name == "fsync":
                    self.sync(place)
            return result

        return call

    def sync(self, place):
        if Path(place).is_dir():
            self.names |= {str(entry) for entry in Path(place).iterdir()}
        else:
            self.contents.add(place)

    def holds(self, path):
        """Whether ``path`` would be found after a power cut."""
        above = [parent for parent in path.parents if str(parent).startswith(self.root) and str(parent) != self.root]
        return str(path) in self.contents and all(str(place) in self.names for place in (path, *above))


@pytest.fixture
def disk(tmp_path, monkeypatch):
    return Disk(monkeypatch, tmp_path)


def test_a_record_is_written_when_its_tar_would_be_found(tmp_path, disk):
    config, folder = fakes.config(), tmp_path / "run" / "outliers" / "dog"
    records = []

    def sink(event, fields):
        if event == "shard_committed":
            records.append(fields["shard"])

    def publish_record(path, content, plain=dogfast.run.publish):
        if path.parent.name == "records":
            assert disk.holds(folder / f"train-{path.stem}.tar")
        plain(path, content)
        assert disk.holds(path)

    with pytest.MonkeyPatch.context() as patch, fakes.installed(), launch(tmp_path / "run", config.to_toml()) as run:
        patch.setattr("dogfast.shards.writer.publish", publish_record)
        fakes.write_conditions(config, run, None)
        generate(config, run, Events(sink))
    assert records == [0, 1, 2]
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or path.name == ".lock" or disk.holds(path), path


def test_a_new_folder_is_on_the_disk_with_what_is_in_it(tmp_path, disk):
    publish(tmp_path / "a" / "b" / "c" / "file", b"x")
    assert disk.holds(tmp_path / "a" / "b" / "c" / "file")
    assert [place for what, place in disk.log if what == "replace"] == [str(tmp_path / "a" / "b" / "c" / "file")]
