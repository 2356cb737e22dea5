"""Evaluations that no classifier was needed for."""

import runpy
from pathlib import Path

import pytest

from dogfast.reporting.inputs import read_evaluations
from dogfast.run import Run

write_evaluation = runpy.run_path(str(Path(__file__).with_name("made_up.py")))["write_evaluation"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Write the evaluation of a classifier in a seed, and give it as the report reads it."""

    def make(name: str, apart: float, seed: int = 0, **fields):
        run = Run(tmp_path_factory.mktemp("made-up"))
        write_evaluation(run, name, apart, seed=seed, **fields)
        return read_evaluations(run)[0]

    return make
