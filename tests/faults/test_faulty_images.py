"""A generator that paints nothing usable: every image is tried again, none is stored, and the command ends with advice."""

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest

import dogfast.synthesis.resolver as resolver
import dogfast.synthesis.worker as worker
import dogfast.workflows.chain as chain
from dogfast.cli.main import main
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.reader import read_records
from dogfast.synthesis.painter import MAX_ATTEMPTS
from dogfast.synthesis.quality import FaultCount
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))
FLAGS = (
    "--classes shapes --image-px 16 --model fake --device cpu --precision fp32 --steps 2 --samples-per-shard 4 --rows 4 --m 8"
)


@pytest.fixture
def numbered(monkeypatch):
    """Seeds are 100 · (number of the image) + attempt, and the noise tells them; images are numbered as they are first seen."""
    numbers = {}

    def seed(run, name, prompt, index, attempt):
        return 100 * numbers.setdefault((name, prompt, index), len(numbers)) + attempt

    monkeypatch.setattr(worker, "image_seed", seed)
    monkeypatch.setattr(resolver, "gaussian_noise", fakes.marked_noise)


def spoilt(numbers, fault):
    return {100 * number + attempt: fault for number in numbers for attempt in range(MAX_ATTEMPTS)}


def paint(root, spoil, calls=None):
    config = fakes.config(m=8, samples_per_shard=4)
    with fakes.installed(spoil=spoil, calls=calls, text_strength=0.0), launch(root, config.to_toml()) as run:
        fakes.write_conditions(config, run, None)
        return generate(config, run, Events())


@pytest.mark.parametrize("fault, reason", [("nan", "not finite"), ("flat", "flat")])
def test_a_generator_that_fails_from_the_start_is_stopped_with_nothing_stored(tmp_path, numbered, fault, reason):
    calls = []
    with pytest.raises(DataError, match=rf"4 of 4 images cannot be used .*\(4 {reason}\).*--precision fp32.*--decoder"):
        paint(tmp_path / "run", spoilt(range(24), fault), calls)
    assert [what for what, _ in calls].count("decode") == MAX_ATTEMPTS, "one shard, every image tried again"
    assert not read_records(tmp_path / "run" / "outliers" / "dog") and not fakes.tars(tmp_path / "run" / "outliers" / "dog")
    assert paint(tmp_path / "run", {})["outliers"] == 24


def test_what_was_good_before_is_committed(tmp_path, numbered):
    """Shards 0 and 1 are good, the others are not; they are too few until most of all is bad."""
    with pytest.raises(DataError, match="of 4 images cannot be used"):
        paint(tmp_path / "run", spoilt(range(8, 24), "nan"))
    kept = read_records(tmp_path / "run" / "outliers" / "dog")
    assert [(record["samples"], record["failed"]) for record in kept[:2]] == [(4, 0), (4, 0)] and len(kept) < 6
    assert not fakes.leftovers(tmp_path / "run")


def test_a_bad_shard_among_good_ones_is_counted_and_the_run_ends(tmp_path, numbered):
    result = paint(tmp_path / "run", spoilt(range(16, 20), "black"))
    assert (result["outliers"], result["failed"], result["shards"]) == (20, 4, 6)
    assert read_records(tmp_path / "run" / "outliers" / "dog")[4]["faults"] == {"black": 4}


@pytest.mark.parametrize(
    "failed, refused", [([""] * 4, False), (["flat"] * 2 + [""] * 2, False), (["flat"] * 3 + [""], True), ([], False)]
)
def test_half_may_fail(failed, refused):
    if refused:
        with pytest.raises(DataError, match=r"3 of 4 .*\(3 flat\)"):
            FaultCount([]).add(failed)
    else:
        FaultCount([]).add(failed)


def test_the_command_says_it_and_ends_with_its_code(tmp_path, numbered, monkeypatch, capsys):
    monkeypatch.setattr(chain, "find_anchors", fakes.write_conditions)
    ends = []
    for spoil in (spoilt(range(24), "nan"), {}, spoilt([23], "nan")):
        typed = ["dogfast", "generate", *FLAGS.split(), "--output", str(tmp_path / f"run{len(ends)}"), "--quiet"]
        with (
            fakes.installed(spoil=spoil, text_strength=0.0),
            patch.object(sys, "argv", typed),
            pytest.raises(SystemExit) as end,
        ):
            main()
        ends.append((end.value.code or 0, capsys.readouterr().err))
    assert [code for code, _ in ends] == [4, 0, 5]
    assert ends[0][1].startswith("error: 4 of 4 images") and ends[0][1].count("\n") == 1
    assert "1 outliers could not be painted" in ends[2][1]


def test_what_was_painted_before_counts_whether_it_is_committed_yet_or_not():
    count = FaultCount([{"samples": 6, "failed": 1}])
    count.add(["nan"] * 4)
    with pytest.raises(DataError, match="4 of 4 images"):
        count.add(["nan"] * 4)
