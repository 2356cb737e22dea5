"""Real processes, really killed: nothing committed is lost, nothing is doubled, and the bytes are those of a calm run."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.shards.reader import read_records, read_shard

SCRIPT = Path(__file__).parent / "painting.py"
fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
PATIENCE_S = 600
IMAGES = 24
MOMENTS = (0, 4, 12, *range(16, 34), 57, 58, 59, 60)
"""Calls of fsync and rename: the claim and the plan, two whole shards, the last record, the card."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the killed processes are forked")


def environment(**more):
    return os.environ | {"OMP_NUM_THREADS": "1"} | more


def script(*arguments):
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def keys(folder):
    return [s.key for r in read_records(folder) for s in read_shard(folder / r["tar"], r["sha256"])]


def assert_like_a_calm_run(run, calm):
    here, there = (root / "outliers" / "dog" for root in (run, calm))
    assert fakes.tars(here) == fakes.tars(there)
    assert keys(here) == keys(there) and len(set(keys(here))) == IMAGES
    assert not fakes.leftovers(run / "outliers") and not fakes.leftovers(run / "plan")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("points")
    return runs, script("points", runs, *MOMENTS)


def test_death_at_every_fsync_and_rename(killed):
    runs, told = killed
    assert told["whole"] == 0
    assert told["ends"] == {str(moment): [signal.SIGKILL, 0] for moment in MOMENTS}
    for moment in MOMENTS:
        assert_like_a_calm_run(runs / str(moment), runs / "whole")


@pytest.mark.slow
def test_deaths_at_any_time_one_after_the_other(killed, tmp_path):
    runs, _ = killed
    told = script("moments", tmp_path / "run", 0.01, 0.05, 0.09, 0.12, 0.16, 0.2, 0.07, 0.11)
    assert told["last"] == 0 and told["ends"].count(signal.SIGKILL) >= 4
    assert_like_a_calm_run(tmp_path / "run", runs / "whole")


# --- the command ------------------------------------------------------------------------------------------------
def flags(run):
    plain = "--classes shapes --image-px 16 --model fake --device cpu --precision fp32 --m 8 --steps 2 --samples-per-shard 4"
    return [*plain.split(), "--rows", "4", "--output", str(run), "--json"]


def start(run, pause_s):
    command = [sys.executable, str(SCRIPT), "cli", *flags(run)]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, env=environment(PAUSE_S=str(pause_s)), **pipes)


def wait_for(ready, process):
    limit = time.monotonic() + PATIENCE_S
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.02)


STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}


@pytest.mark.slow
@pytest.mark.parametrize("kind, code", [pytest.param(*stop, id=stop[0].name) for stop in STOPS.items()])
def test_the_command_goes_on_where_it_was_stopped(killed, tmp_path, kind, code):
    runs, _ = killed
    run = tmp_path / "run"
    folder = run / "outliers" / "dog"
    process = start(run, pause_s=0.4)
    wait_for(lambda: len(list(folder.glob("records/0*.json"))) >= 2, process)
    process.send_signal(kind)
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code and "Traceback" not in told
    assert kind == signal.SIGKILL or "the same command goes on where it stopped" in told
    kept = {record["shard"]: record for record in read_records(folder)}
    assert 2 <= len(kept) < IMAGES // 4
    if kind == signal.SIGINT:
        assert not fakes.leftovers(run)
    again = start(run, pause_s=0.0)
    answer, told = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, told
    result = json.loads(answer.splitlines()[0])
    assert (result["outliers"], result["shards"], result["resumed_shards"]) == (IMAGES, IMAGES // 4, len(kept))
    assert {r["shard"]: r for r in read_records(folder) if r["shard"] in kept} == kept, "what was committed is not made again"
    assert_like_a_calm_run(run, runs / "whole")
