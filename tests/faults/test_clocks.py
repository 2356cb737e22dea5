"""Clocks that jump: nothing of a run depends on the time of day."""

import io
import itertools
import json
import random
import runpy
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

from dogfast.events import Events, diary
from dogfast.run import launch
from dogfast.shards.reader import read_records
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))


def paint(root):
    config, told = fakes.config(), []
    with fakes.installed(), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events(diary(run.events()), lambda *event: told.append(event))), told


def test_a_wall_clock_that_jumps_changes_no_byte_and_no_duration(tmp_path, monkeypatch):
    paint(tmp_path / "calm")
    chance = random.Random(0)
    jumps = itertools.cycle([0.0, 2e9, -1.0, 4e9, 1.0])
    monkeypatch.setattr(time, "time", lambda: next(jumps) + chance.random())
    monkeypatch.setattr(time, "time_ns", lambda: int(next(jumps) * 1e9))
    monkeypatch.setattr(time, "gmtime", lambda *given, plain=time.gmtime: plain(next(jumps) % 4e9))
    began = time.monotonic()
    result, told = paint(tmp_path / "jumping")
    lasted = time.monotonic() - began
    folder = tmp_path / "jumping" / "outliers" / "dog"
    assert fakes.tars(folder) == fakes.tars(tmp_path / "calm" / "outliers" / "dog")
    seconds = [result["seconds"], *(record["seconds"] for record in read_records(folder))]
    seconds += [fields["seconds"] for name, fields in told if name.startswith("progress") and "seconds" in fields]
    assert len(seconds) > 6 and all(0 <= one <= lasted + 0.01 for one in seconds)
    diary_rows = [json.loads(line) for line in (tmp_path / "jumping" / "events" / "0.jsonl").read_text().splitlines()]
    moments = [row["mono_s"] for row in diary_rows]
    assert moments == sorted(moments) and [row["seq"] for row in diary_rows] == list(range(len(diary_rows)))
    for content in fakes.tars(folder).values():
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            assert {member.mtime for member in tar} == {0}


def test_files_from_the_future_are_as_good(tmp_path):
    """A folder that was copied or lies on a machine whose clock is ahead: ages of files decide nothing."""
    import os

    paint(tmp_path / "run")
    folder = tmp_path / "run" / "outliers" / "dog"
    whole = fakes.tars(folder)
    (folder / "records" / "00001.json").unlink()
    for age, path in enumerate(sorted(tmp_path.rglob("*"))):
        os.utime(path, (4e9 - age, 4e9 - age))
    result, _ = paint(tmp_path / "run")
    assert result["resumed_shards"] == 2 and fakes.tars(folder) == whole
