"""`dogfast refine` as typed, on the embedded world in little: kills while it paints, trains and between rounds change nothing."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.environment import ENVIRONMENT
from tests.typed import typed

pytestmark = pytest.mark.slow
PATIENCE_S = 900
REFINE = (
    "refine --classes shapes --device cpu --train-precision fp32 --id-images 400 --inversion-steps 10 --m 10 --steps 4 "
    "--samples-per-shard 16 --rounds 2 --id-synthetic 0 --backbone wrn-10-1 --pretrain-epochs 6 --epochs 2 "
    "--checkpoint-minutes 0 --json"
).split()


def start(place):
    """In ``place``, whose run is runs/shapes; a process group of its own."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([sys.executable, "-m", "dogfast", *REFINE], cwd=place, env=ENVIRONMENT, **streams)


def finish(place):
    started = start(place)
    out, err = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def phases(run):
    """What each phase leaves: a further one stands as soon as a file of it does."""
    return {
        "shard": len(list(run.glob("outliers/dog/records/*.json"))),
        "checkpoint": len(list(run.glob("classifiers/dog*/checkpoints/last.safetensors"))),
        "outcome": len(list(run.glob("rounds/dog/*/outcome.json"))),
    }


def kill_after(place, phase):
    """Kill the command as soon as it left one more of ``phase``; whether it was still at work."""
    run = place / "runs" / "shapes"
    before, victim = phases(run)[phase], start(place)
    while victim.poll() is None and phases(run)[phase] <= before:
        time.sleep(0.01)
    alive = victim.poll() is None
    if alive:
        os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate()
    return alive


def told(result):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in result["rounds"]]


def test_refine_goes_on_from_any_phase_and_its_rounds_can_be_measured(tmp_path):
    calm, place = tmp_path / "calm", tmp_path / "place"
    calm.mkdir(), place.mkdir()
    whole = finish(calm)
    assert [row["round"] for row in whole["rounds"]] == [1, 2] and whole["rounds"][-1]["images"] > 8 * 10
    for phase in ("shard", "outcome", "checkpoint"):
        assert kill_after(place, phase), f"it had ended before another {phase} stood: the test shows nothing"
    assert told(finish(place)) == told(whole)
    one, other = (path / "runs" / "shapes" for path in (calm, place))
    for pattern in ("plan/dog/*.json", "outliers/dog/*.tar", "rounds/dog/*/plan.json"):
        files = sorted(path.relative_to(one) for path in one.glob(pattern))
        assert files and all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    for name in ("dog", "dog~2"):
        sums = [json.loads((run / "classifiers" / name / "train.json").read_text())["sha256"] for run in (one, other)]
        assert sums[0] == sums[1], name

    found = typed("dogfast evaluate --round 2 --ood noise --json", calm).answer
    assert found["name"] == "dog~2" and "noise" in {row["dataset"] for row in found["rows"]}
    typed("dogfast report", calm)
    assert "Round after round" in (one / "report" / "index.html").read_text()
    assert "stands already" in typed("dogfast train --round 1", calm).out, (
        "the first round's classifier is still what `train` makes"
    )
