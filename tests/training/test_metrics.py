"""Rows of numbers: always as JSON lines, for trackers when asked, and once for every step."""

import json

import pytest

from dogfast.errors import EnvironmentFault
from dogfast.training.metrics import metrics_log
from dogfast.training.ranks import ALONE, Ranks


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_rows_stand_in_a_file_as_they_come(tmp_path):
    with metrics_log(tmp_path / "ce", "ce", (), ALONE, {}) as log:
        log({"step": 1, "ce": 0.5})
        assert rows(tmp_path / "ce") == [{"step": 1, "ce": 0.5}]
        log({"step": 2, "ce": 0.25})
    assert [row["step"] for row in rows(tmp_path / "ce")] == [1, 2]


def test_steps_that_are_taken_again_stand_once(tmp_path):
    with metrics_log(tmp_path, "ce", (), ALONE, {}) as log:
        for step in (1, 2, 3):
            log({"step": step, "ce": 0.0})
    (tmp_path / "metrics.jsonl").open("a").write('{"step": 4, "ce"')  # cut short by a kill
    with metrics_log(tmp_path, "ce", (), ALONE, {}) as log:
        log({"step": 3, "ce": 1.0})
    assert rows(tmp_path) == [{"step": 1, "ce": 0.0}, {"step": 2, "ce": 0.0}, {"step": 3, "ce": 1.0}]


def test_rows_stay_where_nothing_is_logged_anew(tmp_path):
    with metrics_log(tmp_path, "ce", (), ALONE, {}) as log:
        log({"step": 1, "ce": 0.0})
    with pytest.raises(KeyboardInterrupt), metrics_log(tmp_path, "ce", (), ALONE, {}):
        raise KeyboardInterrupt
    assert rows(tmp_path) == [{"step": 1, "ce": 0.0}]


def test_the_first_process_alone_writes(tmp_path):
    with metrics_log(tmp_path, "ce", (), Ranks(1, 2), {}) as log:
        log({"step": 1})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("dogfast.training.metrics.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"--track wandb.*pip install wandb"):
        metrics_log(tmp_path, "ce", ("wandb",), ALONE, {}).__enter__()


def test_tensorboard_gets_the_rows_too(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with metrics_log(tmp_path, "oe+noise", ("tensorboard",), ALONE, {"lr": 0.1, "weights": None, "classes": "shapes"}) as log:
        log({"step": 50, "ce": 0.5})
        log({"step": 100, "ce": 0.25})
    (file,) = tmp_path.rglob("events.out.tfevents.*.0")
    found = EventAccumulator(str(file)).Reload()
    assert [(event.step, event.value) for event in found.Scalars("ce")] == [(50, 0.5), (100, 0.25)]
