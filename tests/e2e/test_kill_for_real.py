"""SIGKILL in the middle of `dogfast generate` with the embedded model: the same command ends with the same bytes."""

import signal
import subprocess
import sys
import time

import pytest

from tests.environment import ENVIRONMENT

QUICK = "--id-images 64 --anchor-source clip-mean --steps 4 --backend torch"
COMMAND = f"generate --classes shapes --m 12 --samples-per-shard 16 --rows 16 {QUICK}".split()


def start(place):
    return subprocess.Popen([sys.executable, "-m", "dogfast", *COMMAND, "--output", "run"], cwd=place, env=ENVIRONMENT)


def shards(place):
    return {path.name: path.read_bytes() for path in (place / "run/outliers/dog").glob("*.tar")}


@pytest.mark.slow
def test_killed_generate_goes_on_to_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert start(whole).wait(600) == 0

    records = killed / "run/outliers/dog/records"
    for wanted in (1, 3):  # killed twice, each time once more shards stand
        process = start(killed)
        while process.poll() is None and len(list(records.glob("[0-9]*.json"))) < wanted:
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = shards(killed)
    assert 3 <= len(before) < 6

    assert start(killed).wait(600) == 0
    assert shards(killed) == shards(whole) and len(shards(whole)) == 6
    assert {name: body for name, body in shards(killed).items() if name in before} == before
    assert not [path for path in killed.rglob(".*.part-*")]
