"""Fixtures of a run folder as the stages leave it."""

from pathlib import Path

import pytest

from dogfast.events import Events
from dogfast.run import Run
from tests.reporting.made_up_run import bare_run, fill


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A bare run: configuration and record only."""
    return bare_run(tmp_path / "shapes")


@pytest.fixture
def full_run(run: Run) -> Run:
    """Evaluated under three scores (dog better than ce on the whole), painted, with anchors, candidates and curves."""
    fill(run)
    return run


@pytest.fixture
def said() -> tuple[Events, list[str]]:
    """Events, and the list of sentences they carry."""
    sentences: list[str] = []
    return Events(lambda event, fields: sentences.append(fields["text"]) if event == "note" else None), sentences
