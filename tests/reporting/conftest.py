"""Fixtures of a run folder as the stages leave it."""

from pathlib import Path

import pytest

from dogfast.events import Events
from dogfast.run import Run, publish, to_json
from tests.reporting.made_up_run import add_anchors, add_evaluation, add_shard, samples


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A bare run: configuration and record only."""
    run = Run(tmp_path / "shapes")
    publish(run.config_file, '[data]\nclasses = "shapes"\nnote = "<b>&"\n')
    publish(
        run.root / "run.json", to_json({"versions": {"dogfast": "0.1.0", "torch": "2.13"}, "stages": {"plan dog": {"m": 4}}})
    )
    return run


@pytest.fixture
def full_run(run: Run) -> Run:
    """Evaluated under three scores (dog better than ce), painted, with anchors and candidates."""
    add_evaluation(run, "dog", 0.94, {"near": (0.22, 0.95), "noise": (0.30, 0.90)})
    add_evaluation(run, "ce", 0.95, {"near": (0.40, 0.90), "noise": (0.20, 0.96)})
    add_evaluation(run, "oe+noise", 0.95, {"near": (0.46, 0.88), "noise": (0.02, 0.99)})
    add_anchors(run)
    add_shard(run, "dog", 0, samples())
    publish(
        run.classifier("dog") / "train.json",
        to_json({"history": [{"epoch": 0, "ce": 1.5}, {"epoch": 1, "ce": 0.5}], "seconds": 12.4}),
    )
    return run


@pytest.fixture
def said() -> tuple[Events, list[str]]:
    """Events, and the list of sentences they carry."""
    sentences: list[str] = []
    return Events(lambda event, fields: sentences.append(fields["text"]) if event == "note" else None), sentences
