"""Several processes under `accelerate launch`: the bytes of one, a part each, and nothing lost where one is killed."""

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.shards.reader import read_records, read_shard

SCRIPT = Path(__file__).parent / "painting.py"
fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
IMAGES, SHARDS = 24, 6
PATIENCE_S = 300


def command(run, processes):
    plain = "--classes shapes --image-px 16 --model fake --device cpu --precision fp32 --m 8 --steps 2 --samples-per-shard 4"
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    launcher += ["--main_process_port", "0"]
    start = launcher if processes > 1 else [sys.executable]
    return [*start, str(SCRIPT), "cli", *plain.split(), "--rows", "4", "--output", str(run), "--json"]


def environment(**more):
    return os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PAUSE_S": "0"} | more


def paint(run, processes, **variables):
    done = subprocess.run(
        command(run, processes), capture_output=True, text=True, timeout=PATIENCE_S, env=environment(**variables)
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return done, [json.loads(line) for line in answers]


def outliers(run):
    return run / "outliers" / "dog"


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    run = tmp_path_factory.mktemp("crew") / "calm"
    done, _ = paint(run, 1)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize("processes", [2, 3])
def test_more_processes_paint_the_same_bytes_a_part_each(calm, tmp_path, processes):
    done, answers = paint(tmp_path / "run", processes)
    assert done.returncode == 0, done.stderr
    (answer,) = answers
    assert (answer["outliers"], answer["shards"], answer["failed"]) == (IMAGES, SHARDS, 0), "the first process answers, alone"
    records = read_records(outliers(tmp_path / "run"))
    assert {record["rank"] for record in records} == set(range(processes))
    assert fakes.tars(outliers(tmp_path / "run")) == fakes.tars(outliers(calm))
    assert not fakes.leftovers(tmp_path / "run")
    diaries = sorted(path.stem for path in (tmp_path / "run" / "events").iterdir())
    assert diaries == [str(rank) for rank in range(processes)]


def test_one_that_dies_ends_the_launch_and_the_same_command_goes_on(calm, tmp_path):
    run = tmp_path / "run"
    done, _ = paint(run, 2, DIE_AFTER_BATCHES="2", DIE_RANK="1", PAUSE_S="0.2")
    assert done.returncode != 0 and str(int(signal.SIGKILL)) in done.stderr
    before = {record["shard"]: (outliers(run) / record["tar"]).read_bytes() for record in read_records(outliers(run))}
    assert len(before) < SHARDS
    done, (answer,) = paint(run, 2)
    assert done.returncode == 0, done.stderr
    assert answer["resumed_shards"] == len(before) and answer["outliers"] == IMAGES
    assert fakes.tars(outliers(run)) == fakes.tars(outliers(calm))
    keys = [s.key for r in read_records(outliers(run)) for s in read_shard(outliers(run) / r["tar"], r["sha256"])]
    assert len(keys) == len(set(keys)) == IMAGES
    assert not fakes.leftovers(run / "outliers")


def test_what_is_left_is_dealt_anew(calm, tmp_path):
    """Shards that one process left behind are no longer that process's alone."""
    run = tmp_path / "run"
    done, _ = paint(run, 1)
    assert done.returncode == 0
    for number in (1, 3, 5):
        (outliers(run) / "records" / f"{number:05d}.json").unlink()
    done, (answer,) = paint(run, 2)
    assert done.returncode == 0 and answer["resumed_shards"] == 3, done.stderr
    assert {record["shard"]: record["rank"] for record in read_records(outliers(run)) if record["shard"] % 2} == {
        1: 0,
        3: 1,
        5: 0,
    }
    assert fakes.tars(outliers(run)) == fakes.tars(outliers(calm))


def test_a_refused_command_ends_every_process_with_one_message(tmp_path):
    done = subprocess.run(
        [*command(tmp_path / "run", 2), "--recipe", "fast"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
    )
    assert done.returncode != 0 and done.stderr.count("--recipe 'fast' is unknown") == 1
    assert not (tmp_path / "run" / "outliers").exists()
