"""A device that hangs: the process ends with its stacks, and the same command goes on."""

import faulthandler
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import dogfast.synthesis.watchdog as watchdog
import dogfast.synthesis.worker as worker
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.reader import read_records
from dogfast.synthesis.stage import generate
from dogfast.synthesis.watchdog import FIRST_LIMIT_S, LEAST_LIMIT_S, Watchdog

SCRIPT = Path(__file__).parent / "painting.py"
fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))


class Timer:
    """In the place of faulthandler's: what it was last set to, and how often."""

    def __init__(self, patch):
        self.limit_s, self.limits = None, []
        patch.setattr(faulthandler, "dump_traceback_later", self.set)
        patch.setattr(faulthandler, "cancel_dump_traceback_later", self.cancel)

    def set(self, limit_s, exit, file):
        assert exit and file == 2
        self.limit_s = limit_s
        self.limits.append(limit_s)

    def cancel(self):
        self.limit_s = None


@pytest.fixture
def timer(monkeypatch):
    return Timer(monkeypatch)


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now.s)
    return now


def paint(root, **options):
    config = fakes.config(m=4)
    with fakes.installed(**options), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events())


def test_the_limit_is_long_at_first_and_then_ten_median_batches(timer, clock):
    dog = Watchdog()
    with dog.watching():
        for seconds, limit in ((30.0, 300.0), (2.0, 160.0), (2.0, LEAST_LIMIT_S), (9.0, LEAST_LIMIT_S), (9.0, 90.0)):
            clock.s += seconds
            with dog.between_batches():
                assert timer.limit_s is None, "what waits for a store is no batch"
                clock.s += 1000.0
            assert timer.limit_s == limit
    assert timer.limit_s is None and timer.limits[0] == FIRST_LIMIT_S
    with dog.watching():
        assert timer.limit_s == 90.0, "the next shard's batches are like this one's"
    dog.forget()
    with pytest.raises(ZeroDivisionError), dog.watching():
        assert timer.limit_s == FIRST_LIMIT_S
        raise ZeroDivisionError
    assert timer.limit_s is None


def test_a_run_sets_the_timer_for_every_batch_and_leaves_none(tmp_path, timer, monkeypatch):
    committing = []
    monkeypatch.setattr(worker, "tell_of_shard", lambda *given: committing.append(timer.limit_s))
    paint(tmp_path / "run")
    assert timer.limits == [FIRST_LIMIT_S, *[LEAST_LIMIT_S] * 5] and timer.limit_s is None
    assert committing == [None] * 3, "waiting for a disk is not timed"


class Filling(list):
    """Calls of the networks of a device that is full once, in its second batch."""

    def append(self, call):
        super().append(call)
        if call == ("decode", 4) and self.count(call) == 2:
            raise RuntimeError("CUDA out of memory")


def test_fewer_rows_are_other_batches(tmp_path, timer):
    paint(tmp_path / "run", calls=Filling())
    assert timer.limits[:5] == [FIRST_LIMIT_S, LEAST_LIMIT_S, LEAST_LIMIT_S, FIRST_LIMIT_S, LEAST_LIMIT_S]


def test_repeated_images_are_batches_too(tmp_path, timer, monkeypatch):
    """Many retries must not look like one long batch."""
    monkeypatch.setattr(
        "dogfast.synthesis.resolver.gaussian_noise", lambda seeds, shape: fakes.marked_noise([7] * len(seeds), shape)
    )
    monkeypatch.setattr(worker, "FaultCount", lambda records: SimpleNamespace(add=lambda found: None))
    paint(tmp_path / "run", spoil={7: "nan"})
    assert len(timer.limits) == 3 + 3 * 3


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_a_hung_device_ends_the_process_and_the_next_goes_on(tmp_path):
    command = [sys.executable, str(SCRIPT), "hang", str(tmp_path / "run")]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == '{"hung": -1, "last": 0}', done.stderr
    assert time.monotonic() - began < 60
    assert "Timeout (0:00:00" in done.stderr and "in decode" in done.stderr and "in paint_shards" in done.stderr
    assert done.stderr.count("Thread 0x") >= 2, "the committer's stack too"
    records = read_records(tmp_path / "run" / "outliers" / "dog")
    assert len(records) == 6 and not fakes.leftovers(tmp_path / "run")
