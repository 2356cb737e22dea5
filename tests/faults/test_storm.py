"""Kills at random moments, one after the other: at the end it is as if nothing had happened."""

import json
import os
import random
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.shards.reader import read_records, read_shard

SCRIPT = Path(__file__).parent / "storm.py"
fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
KILLS = {"lone": 50, "crew": 50, "ray": 10}
"""Ray takes seconds to start after each."""
IMAGES, SHARDS = 600, 300
PATIENCE_S = 600
MOMENTS = {"painting", "writing a tar", "between tar and record", "writing a record"}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed processes are forked")]


def script(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    run = tmp_path_factory.mktemp("storm") / "calm"
    told, errors = script("calm", run)
    assert told["last"] == [0], errors
    return run


def assert_like(run, calm, what):
    folder = run / "outliers" / "dog"
    assert fakes.tars(folder) == fakes.tars(calm / "outliers" / "dog"), what
    records = read_records(folder)
    keys = [sample.key for record in records for sample in read_shard(folder / record["tar"], record["sha256"])]
    assert len(records) == SHARDS and len(keys) == len(set(keys)) == IMAGES, what
    assert not fakes.leftovers(run), what


@pytest.mark.parametrize("kind", KILLS)
def test_killed_at_random_moments(calm, tmp_path, kind):
    if kind == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
    run, seed = tmp_path / "run", random.randrange(10**6)
    told, errors = script(kind, run, seed, KILLS[kind])
    what = f"seed {seed}: {told}\n{errors}"
    print(f"{kind}, seed {seed}: {told}")
    assert told["kills"] == KILLS[kind] and not any(told["last"]), what
    if kind != "ray":  # too few for every moment
        assert told["phases"].keys() >= MOMENTS, what
    assert 0 < told["committed"] < SHARDS, "it ended before its last kill: " + what
    assert_like(run, calm, what)
    if kind != "lone":
        assert {record["rank"] for record in read_records(run / "outliers" / "dog")} == {0, 1}, what
    if kind == "crew":
        assert min(told["victims"].get(rank, 0) for rank in ("0", "1")) >= KILLS[kind] // 5, what
