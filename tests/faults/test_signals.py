"""Being asked to end: what is painted is committed, a second time stops at once, a closed terminal is no accident."""

import os
import pty
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import dogfast.cli.main as command
import dogfast.synthesis.worker as worker
from dogfast.cli.main import ECHO_S, Stopped
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.reader import read_records
from dogfast.synthesis.stage import generate

SCRIPT = Path(__file__).parent / "painting.py"
fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
FLAGS = (
    "--classes shapes --image-px 16 --model fake --device cpu --precision fp32 --m 8 --steps 2 --samples-per-shard 4 --rows 4"
)
PATIENCE_S = 120
KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def paint(root):
    config = fakes.config(m=8, samples_per_shard=4)
    with fakes.installed(), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events())


# --- the first --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("told", [1, 2])
def test_what_is_painted_is_committed_wherever_the_signal_comes(tmp_path, monkeypatch, told):
    """It comes while a commit is waited for: the shard just painted is handed to the committer before that."""
    painted, waits = [], iter(range(1, 100))

    def wait(*given):
        if next(waits) == told:
            raise Stopped(signal.SIGTERM)

    paint_shard = worker.Worker.paint
    monkeypatch.setattr(worker.Worker, "paint", lambda *given: painted.append(1) or paint_shard(*given))
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(worker, "tell_of_shard", wait)
        paint(tmp_path / "run")
    kept = read_records(tmp_path / "run" / "outliers" / "dog")
    assert len(kept) == len(painted) == told + worker.SHARDS_IN_FLIGHT and not fakes.leftovers(tmp_path / "run")
    assert paint(tmp_path / "run")["resumed_shards"] == len(kept)


# --- the second -------------------------------------------------------------------------------------------------
class Ended(BaseException):
    """In the place of the end of the process."""


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_a_second_signal_does_not_wait(monkeypatch, kind):
    now = SimpleNamespace(s=50.0)
    codes = []

    def leave(code):
        codes.append(code)
        raise Ended

    monkeypatch.setattr(command, "os", SimpleNamespace(_exit=leave))
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: now.s))
    before = signal.getsignal(kind)
    with command._stopping():
        told = signal.getsignal(kind)
        with pytest.raises(Stopped):
            told(kind, None)
        now.s += ECHO_S / 2
        told(kind, None)
        assert not codes, "a launcher's echo of the first"
        now.s += ECHO_S
        with pytest.raises(Ended):
            told(kind, None)
    assert codes == [128 + kind] and signal.getsignal(kind) == before


def started(run, **variables):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PAUSE_S": "0.02", "DISK_S": "0"} | variables
    typed = [sys.executable, str(SCRIPT), "cli", *FLAGS.split(), "--output", str(run)]
    return subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for(ready, alive=lambda: True):
    limit = time.monotonic() + PATIENCE_S
    while not ready():
        assert alive() and time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.slow
def test_the_second_ends_a_command_whose_disk_is_stuck(tmp_path):
    """The first waits for the shards that are being committed, each of which takes a minute here."""
    run = tmp_path / "run"
    process = started(run, DISK_S="60")
    wait_for(lambda: list((run / "outliers" / "dog").glob(".*.part-*")), lambda: process.poll() is None)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(ECHO_S + 0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 128 + signal.SIGTERM
    process.communicate()
    again = started(run)
    _, told = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, told
    assert len(read_records(run / "outliers" / "dog")) == 6 and not fakes.leftovers(run)


# --- the terminal -----------------------------------------------------------------------------------------------
def in_terminal(run):
    """The command in a terminal of its own: process and the terminal's other end."""
    child, leader = pty.fork()
    if child == 0:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PAUSE_S": "0.2", "DISK_S": "0", "TERM": "xterm"}
        typed = [sys.executable, str(SCRIPT), "cli", *FLAGS.split(), "--output", str(run)]
        os.execve(sys.executable, typed, environment)
    return child, leader


@pytest.mark.slow
def test_a_terminal_that_closes_ends_the_command_which_goes_on_in_a_log(tmp_path):
    run = tmp_path / "run"
    folder = run / "outliers" / "dog"
    child, leader = in_terminal(run)
    os.set_blocking(leader, False)
    shown = bytearray()

    def painted():
        with suppress(BlockingIOError):
            shown.extend(os.read(leader, 65_536))
        return len(list(folder.glob("records/0*.json"))) >= 2

    wait_for(painted, lambda: os.waitpid(child, os.WNOHANG)[0] == 0)
    os.close(leader)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert b"generate" in shown and b"\x1b[" in shown, "a bar on a terminal"
    kept = len(read_records(folder))
    assert 2 <= kept < 6 and not fakes.leftovers(run)
    again = started(run)
    _, told = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0 and "generate done=" in told and "\x1b" not in told, "lines in a log"
    assert len(read_records(folder)) == 6
