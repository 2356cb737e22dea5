"""`dogfast demo` as typed, in little: every stage of the embedded world from anchors to the report, with fewer of everything.

Whole, it is `make demo`; what that measures is benchmarks/results/demo.json.
"""

import pytest

from tests.typed import typed

LITTLE = {
    "data.id_images": 400,
    "concepts.inversion_steps": 10,
    "synthesis.m": 12,
    "training.id_synthetic": 0.05,
    "training.pretrain_epochs": 2,
    "training.epochs": 1,
    "detection.ood_images": 100,
}
DEMO = " ".join(["dogfast demo", *(f"--set {field}={value}" for field, value in LITTLE.items())])


@pytest.mark.slow
def test_demo_ends_with_the_table_and_the_report(tmp_path):
    result = typed(f"{DEMO} --json", tmp_path).answer
    assert list(result["evaluations"]) == ["ce", "oe+noise", "oe", "dog"]
    for found in result["evaluations"].values():
        assert {row["dataset"] for row in found["rows"]} == {"held-out-shapes", "glyphs", "stripes", "noise"}
        assert {row["score"] for row in found["rows"]} == {"msp", "energy", "ash-s"}
    assert (tmp_path / result["report"]).stat().st_size > 100_000
    assert result["seconds"].keys() >= {"anchors", "generate", "report"}
    again = typed(DEMO, tmp_path).out
    assert "FPR95" in again and result["report"] in again
