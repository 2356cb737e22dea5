"""Trainings that are killed, for real: the same command goes on, and ends with the weights it would have had."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow
PATIENCE_S = 300
KILLS = 4
FLAGS = (
    "--classes shapes --image-px 16 --id-images 320 --device cpu --train-precision fp32 --backbone wrn-10-1 --dropout 0.1 "
    "--objective oe --outliers noise --pretrain-epochs 6 --epochs 12 --batch 16 --ood-batch 16 --id-synthetic 0 "
    "--checkpoint-minutes 0 --json"
).split()


def start(place, processes=1):
    """`dogfast train` in the folder ``place``, whose run is runs/shapes; a process group of its own."""
    launcher = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(processes),
        "--main_process_port",
        "0",
    ]
    words = [sys.executable, *(launcher if processes > 1 else []), "-m", "dogfast", "train", *FLAGS]
    variables = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(words, cwd=place, env=variables, **streams)


def finish(place, processes=1):
    started = start(place, processes)
    out, err = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == 0, err
    return json.loads(out.splitlines()[-1]), err


def digests(place):
    """SHA-256 of the weights of both classifiers."""
    folder = place / "runs" / "shapes" / "classifiers"
    return {name: json.loads((folder / name / "train.json").read_text())["sha256"] for name in ("ce", "oe+noise")}


def checkpoints(place):
    return {path: path.stat().st_mtime_ns for path in place.glob("runs/shapes/classifiers/*/checkpoints/last.safetensors")}


def wait_for_a_checkpoint(place, started):
    """Until ``started`` has written one, or has ended."""
    before = checkpoints(place)
    while started.poll() is None and checkpoints(place) in ({}, before):
        time.sleep(0.02)


def test_a_training_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path):
    calm, place, chance, resumed = tmp_path / "calm", tmp_path / "place", random.Random(7), 0
    calm.mkdir(), place.mkdir()
    finish(calm)
    for _ in range(KILLS):
        victim = start(place)
        wait_for_a_checkpoint(place, victim)
        time.sleep(chance.uniform(0, 0.4))
        if victim.poll() is None:
            os.killpg(victim.pid, signal.SIGKILL)
        resumed += " goes on with step " in victim.communicate()[1]
    _, said = finish(place)
    assert resumed + (" goes on with step " in said), "no kill fell into a training: the test shows nothing"
    assert digests(place) == digests(calm)
    left = {path.name for path in (place / "runs" / "shapes" / "classifiers" / "ce").iterdir()}
    assert left == {"model.safetensors", "train.json", "metrics.jsonl"}
    steps = [json.loads(line)["step"] for line in (place / "runs/shapes/classifiers/oe+noise/metrics.jsonl").open()]
    assert steps == sorted(set(steps))


def test_a_process_of_several_that_is_killed_ends_the_launch_and_the_same_command_goes_on(tmp_path):
    folder = tmp_path / "runs" / "shapes" / "classifiers"
    victim = start(tmp_path, 2)
    deadline = time.monotonic() + PATIENCE_S
    while not (folder / "oe+noise" / "checkpoints" / "last.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = subprocess.run(["pgrep", "-P", str(victim.pid)], capture_output=True, text=True).stdout.split()
    assert len(children) == 2, "two processes train"
    os.kill(int(children[1]), signal.SIGKILL)
    _, err = victim.communicate(timeout=PATIENCE_S)
    assert victim.returncode != 0 and not (folder / "oe+noise" / "train.json").exists(), err
    result, said = finish(tmp_path, 2)
    assert " goes on with step " in said and result["name"] == "oe+noise" and result["skipped_steps"] == 0
    assert (folder / "oe+noise" / "train.json").exists() and not (folder / "oe+noise" / "checkpoints").exists()
