"""`dogfast train --objective oal` in an empty folder: latents are painted, a start is trained, and nothing is decoded."""

import json

import pytest

from dogfast.data import shapes
from tests.typed import typed

M = 12
PAINTING = f"--set synthesis.m={M} --set concepts.inversion_steps=10 --id-synthetic 0.05"
FLAGS = f"--classes shapes --objective oal {PAINTING} --pretrain-epochs 6 --epochs 2"


@pytest.mark.slow
def test_oal_needs_one_command(tmp_path):
    done = typed(f"dogfast train {FLAGS} --json", tmp_path)
    answer, said = done.answer, done.said
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
    assert typed(f"dogfast train {FLAGS} --json", tmp_path).answer["resumed"]
    asked = "--objective oal --ood-images 100 --ood glyphs --ood held-out-shapes"
    evaluated = typed(f"dogfast evaluate {asked} --json", tmp_path).answer
    assert evaluated["name"] == "oal" and {row["dataset"] for row in evaluated["rows"]} == {"glyphs", "held-out-shapes"}
