"""Several processes under `accelerate launch` and on Ray: the bytes of one, and nothing lost where one is killed."""

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


def flags(run):
    plain = "--classes shapes --image-px 16 --model fake --device cpu --precision fp32 --m 8 --steps 2 --samples-per-shard 4"
    return [str(SCRIPT), "cli", *plain.split(), "--rows", "4", "--output", str(run), "--json"]


def accelerated(processes):
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    return [sys.executable, *launcher, "--main_process_port", "0"]


def paint(run, starter=(sys.executable,), more=(), **variables):
    """The command by ``starter``, with ``more`` flags; its answers beside the process."""
    environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PAUSE_S": "0"} | variables
    command = [*starter, *flags(run), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment)
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return done, [json.loads(line) for line in answers]


def doomed(tmp_path, after):
    """The second process is killed after so many batches."""
    return {"DIE_AFTER_BATCHES": str(after), "DIE_RANK": "1", "DIE_MARK": str(tmp_path / "died"), "PAUSE_S": "0.2"}


def keys(folder):
    return [s.key for r in read_records(folder) for s in read_shard(folder / r["tar"], r["sha256"])]


def outliers(run):
    return run / "outliers" / "dog"


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    run = tmp_path_factory.mktemp("crew") / "calm"
    done, _ = paint(run)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_more_processes_paint_the_same_bytes_a_part_each(calm, tmp_path, processes):
    done, answers = paint(tmp_path / "run", accelerated(processes))
    assert done.returncode == 0, done.stderr
    (answer,) = answers
    assert (answer["outliers"], answer["shards"], answer["failed"]) == (IMAGES, SHARDS, 0), "the first process answers, alone"
    records = read_records(outliers(tmp_path / "run"))
    assert {record["rank"] for record in records} == set(range(processes))
    assert fakes.tars(outliers(tmp_path / "run")) == fakes.tars(outliers(calm))
    assert not fakes.leftovers(tmp_path / "run")
    diaries = sorted(path.stem for path in (tmp_path / "run" / "events").iterdir())
    assert diaries == [str(rank) for rank in range(processes)]


@pytest.mark.slow
def test_one_that_dies_ends_the_launch_and_the_same_command_goes_on(calm, tmp_path):
    run = tmp_path / "run"
    done, _ = paint(run, accelerated(2), **doomed(tmp_path, 2))
    assert done.returncode != 0 and str(int(signal.SIGKILL)) in done.stderr
    before = {record["shard"]: (outliers(run) / record["tar"]).read_bytes() for record in read_records(outliers(run))}
    assert len(before) < SHARDS
    done, (answer,) = paint(run, accelerated(2))
    assert done.returncode == 0, done.stderr
    assert answer["resumed_shards"] == len(before) and answer["outliers"] == IMAGES
    assert fakes.tars(outliers(run)) == fakes.tars(outliers(calm))
    assert len(keys(outliers(run))) == len(set(keys(outliers(run)))) == IMAGES
    assert not fakes.leftovers(run / "outliers")


@pytest.mark.slow
def test_what_is_left_is_dealt_anew(calm, tmp_path):
    """Shards that one process left behind are no longer that process's alone."""
    run = tmp_path / "run"
    done, _ = paint(run)
    assert done.returncode == 0
    for number in (1, 3, 5):
        (outliers(run) / "records" / f"{number:05d}.json").unlink()
    done, (answer,) = paint(run, accelerated(2))
    assert done.returncode == 0 and answer["resumed_shards"] == 3, done.stderr
    assert {record["shard"]: record["rank"] for record in read_records(outliers(run)) if record["shard"] % 2} == {
        1: 0,
        3: 1,
        5: 0,
    }
    assert fakes.tars(outliers(run)) == fakes.tars(outliers(calm))


LAUNCHERS = 1
"""Tracebacks of accelerate's own, whatever ends its processes."""


@pytest.mark.slow
def test_a_refused_command_ends_every_process_with_one_message(tmp_path):
    done, _ = paint(tmp_path / "run", accelerated(2), ["--recipe", "fast"])
    assert done.returncode != 0 and done.stderr.count("--recipe 'fast' is unknown") == 1
    assert done.stderr.count("error: ") == 1 and done.stderr.count("Traceback") == LAUNCHERS, done.stderr
    assert "interrupted" not in done.stderr and not (tmp_path / "run" / "outliers").exists()


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["told", "raw"])
def test_what_fails_in_every_process_is_told_once(tmp_path, bad):
    """As a bad engine does, when each opens its networks; what no message was written for has one traceback."""
    done, _ = paint(tmp_path / "run", accelerated(2), BAD_ENGINE=bad)
    assert done.returncode != 0 and done.stderr.count("r: the engine is broken") == 1, done.stderr
    assert done.stderr.count("Traceback") == LAUNCHERS + (bad == "raw"), done.stderr
    assert paint(tmp_path / "run", accelerated(2))[0].returncode == 0


@pytest.mark.slow
def test_a_wrong_flag_is_told_once(tmp_path):
    done, _ = paint(tmp_path / "run", accelerated(2), ["--m", "many"])
    assert done.returncode != 0 and done.stderr.count("Invalid value for '--m'") == 1, done.stderr


@pytest.mark.slow
def test_a_crew_paints_latents_and_the_first_encodes_the_id_images(tmp_path):
    latents = ["--output-kind", "latent", "--id-images", "40"]
    alone, run = tmp_path / "alone", tmp_path / "run"
    assert paint(alone, more=latents)[0].returncode == 0
    done, (answer,) = paint(run, accelerated(2), latents)
    assert done.returncode == 0 and (answer["source"], answer["outliers"]) == ("dog-latent", IMAGES), done.stderr
    (run / "outliers" / "dog-latent" / "records" / "00001.json").unlink()
    done, (answer,) = paint(run, accelerated(2), latents)
    assert done.returncode == 0 and answer["resumed_shards"] == SHARDS - 1, done.stderr
    tars = [fakes.tars(place / "outliers" / "dog-latent") for place in (alone, run)]
    assert tars[0] == tars[1] and len(tars[0]) == SHARDS
    encoded = [(place / "latents" / "id.safetensors").read_bytes() for place in (alone, run)]
    assert encoded[0] == encoded[1] and not fakes.leftovers(run)


# --- on Ray -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("painters", [1, 3])
@pytest.mark.slow
def test_painters_on_ray_paint_the_same_bytes(calm, tmp_path, painters):
    pytest.importorskip("ray", reason="Ray is not installed")
    done, (answer,) = paint(tmp_path / "run", more=["--ray", "local", "--workers", str(painters)])
    assert done.returncode == 0 and answer["outliers"] == IMAGES, done.stderr
    assert {record["rank"] for record in read_records(outliers(tmp_path / "run"))} <= set(range(painters))
    assert fakes.tars(outliers(tmp_path / "run")) == fakes.tars(outliers(calm))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "hang"])
def test_a_painter_that_dies_is_started_again_and_its_shards_painted_anew(calm, tmp_path, how):
    pytest.importorskip("ray", reason="Ray is not installed")
    run = tmp_path / "run"
    done, (answer,) = paint(run, more=["--ray", "local", "--workers", "2"], **doomed(tmp_path, 2), DIE_BY=how, LIMIT_S="3")
    assert done.returncode == 0 and (tmp_path / "died").exists(), done.stderr
    assert answer["outliers"] == IMAGES and answer["shards"] == SHARDS
    assert {record["rank"] for record in read_records(outliers(run))} == {0, 1}
    assert fakes.tars(outliers(run)) == fakes.tars(outliers(calm))
    assert len(keys(outliers(run))) == len(set(keys(outliers(run)))) == IMAGES
    assert not fakes.leftovers(run / "outliers")


@pytest.mark.slow
def test_what_fails_in_every_painter_is_told_once(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    done, answers = paint(tmp_path / "run", more=["--ray", "local", "--workers", "2"], BAD_ENGINE="told")
    assert done.returncode == 3 and not answers and done.stderr.count("the engine is broken") == 1, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_no_cluster_there_is_told_with_what_to_do(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    done, answers = paint(tmp_path / "run", more=["--ray", "auto"])
    assert done.returncode == 3 and not answers and "Traceback" not in done.stderr
    assert "ray start --head" in done.stderr


@pytest.mark.slow
def test_workers_without_a_cluster_are_refused(tmp_path):
    done, _ = paint(tmp_path / "run", more=["--workers", "2"])
    assert done.returncode == 2 and "--ray" in done.stderr and "accelerate launch" in done.stderr


@pytest.mark.slow
def test_ray_inside_accelerate_is_refused(tmp_path):
    done, _ = paint(tmp_path / "run", accelerated(2), ["--ray", "local"])
    assert done.returncode != 0 and "leave out `accelerate launch`" in done.stderr
