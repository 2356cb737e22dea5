"""`dogfast train --objective oal` in an empty folder: latents are painted, a start is trained, and nothing is decoded."""

import json
import subprocess
import sys

import pytest

from dogfast.data import shapes
from tests.environment import ENVIRONMENT

M = 12
PAINTING = f"--set synthesis.m={M} --set concepts.inversion_steps=10 --id-synthetic 0.05"
FLAGS = f"--classes shapes --objective oal {PAINTING} --pretrain-epochs 6 --epochs 2"


def typed(command, cwd):
    """Run ``command`` and give its answer and what it said."""
    words = [sys.executable, "-m", *command.split(), "--json"]
    done = subprocess.run(words, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_oal_needs_one_command(tmp_path):
    answer, said = typed(f"dogfast train {FLAGS}", tmp_path)
    assert answer["name"] == "oal" and not answer["resumed"]
    for sentence in ("no outliers of 'dog-latent' yet", "no starting classifier yet", "oal: latent_r2 is"):
        assert sentence in said, sentence
    run = tmp_path / "runs" / "shapes"
    painted = [json.loads(path.read_text()) for path in sorted((run / "outliers" / "dog-latent" / "records").iterdir())]
    assert sum(record["samples"] for record in painted) == M * len(shapes.ID_WORDS)
    start, record = (json.loads((run / "classifiers" / name / "train.json").read_text()) for name in ("ce", "oal"))
    assert start["validation_accuracy"] > 0.25, "eight classes: chance is 0.125"
    assert answer["id_accuracy"] > start["validation_accuracy"] - 0.1, "the student stays near its teacher"
    assert 0 < record["latent_r2"] < 1, "latents of ID images tell something of their features"
    assert {"ce", "kd", "contrast", "oe"} <= record["history"][-1].keys()
    assert typed(f"dogfast train {FLAGS}", tmp_path)[0]["resumed"]
    evaluated, _ = typed("dogfast evaluate --objective oal --ood-images 100 --ood glyphs --ood held-out-shapes", tmp_path)
    assert evaluated["name"] == "oal" and {row["dataset"] for row in evaluated["rows"]} == {"glyphs", "held-out-shapes"}
