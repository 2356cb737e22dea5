"""Which rows the benchmark of the embedded world trains, and which it knows to be another row."""

import json

import demo_seeds
import pytest

from dogfast.errors import DataError
from dogfast.run import Run


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_seeds, "WORK", tmp_path)
    return demo_seeds


def find_conditions(place, world, *words):
    path = Run(place / world).conditions
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(words))


def test_a_world_with_the_same_conditions_is_the_main_one(benchmark, tmp_path):
    place = tmp_path / "seed-0"
    find_conditions(place, "main", "hexagon", "frame")
    assert benchmark.home(place, "without textual inversion") == "without textual inversion", "nothing was found there yet"
    find_conditions(place, "class-name", "hexagon", "frame")
    assert benchmark.home(place, "without textual inversion") == "dog"
    Run(place / "class-name").conditions.write_text("kite")
    assert benchmark.home(place, "without textual inversion") == "without textual inversion"


def test_ingredients_that_are_rows_are_not_trained_twice(benchmark, tmp_path):
    homes = {name: benchmark.home(tmp_path, name) for name in benchmark.INGREDIENTS}
    assert homes["without perturbation"] == "oe" and homes["without Eq. 6"] == "dog+textual-near-ood"
    assert homes["without codec matching"] == "without codec matching"
    assert all(benchmark.home(tmp_path, name) == name for name in ("ce", *benchmark.ROWS))


def test_without_id_class_samples_the_steps_are_as_many(benchmark):
    share = benchmark.settings(0).training.id_synthetic
    real = round(benchmark.ID_IMAGES * 0.9)
    per_epoch = {with_share: round(real / (1 - share * with_share)) for with_share in (0, 1)}
    steps = benchmark.TRAINING["epochs"] * per_epoch[1], benchmark.EPOCHS_OF_REAL_IMAGES * per_epoch[0]
    assert steps[0] == pytest.approx(steps[1], rel=0.05)


def test_minutes_are_of_one_table_over_all_calls(benchmark, tmp_path):
    lines = [("rows", 60), ("ingredients", 600), ("rows", 30)]
    text = "\n".join(json.dumps({"table": table, "step": "x", "seconds": seconds}) for table, seconds in lines)
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0" / "seconds.jsonl").write_text(text)
    assert benchmark._minutes([tmp_path / "seed-0"], "rows") == [1.5]


def test_no_complete_seed_is_one_clear_message(benchmark):
    with pytest.raises(DataError, match="no seed in which every row stands"):
        benchmark.result()
