"""`dogfast demo`, whole: the embedded world from anchors to the report."""

import json
import subprocess
import sys

import pytest

from tests.environment import ENVIRONMENT


@pytest.mark.slow
def test_demo_ends_with_the_table_and_the_report(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dogfast", "demo", "--json"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert list(result["evaluations"]) == ["ce", "oe+noise", "oe", "dog"]
    for found in result["evaluations"].values():
        assert {row["dataset"] for row in found["rows"]} == {"held-out-shapes", "glyphs", "stripes", "noise"}
        assert {row["score"] for row in found["rows"]} == {"msp", "energy", "ash-s"}
        assert found["id_accuracy"] > 0.8
    assert (tmp_path / result["report"]).stat().st_size > 100_000
    assert result["seconds"].keys() >= {"anchors", "generate", "report"}

    again = subprocess.run(
        [sys.executable, "-m", "dogfast", "demo"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert "FPR95" in again.stdout and result["report"] in again.stdout
