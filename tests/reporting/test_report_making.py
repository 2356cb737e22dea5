"""How it was made: throughput from the records of shards, and training curves from what was logged."""

import json

import numpy as np
import pytest

from dogfast.reporting.curves import read_trainings, series_of
from dogfast.reporting.overview import build_overview, source_of
from dogfast.reporting.throughput import SPANS_AT_MOST, build_paintings, painting_of, rates_over_time
from dogfast.run import publish, to_json
from tests.reporting.made_up_run import add_shard, add_training, samples


def record(samples=64, seconds=2.0, **facts):
    return {"samples": samples, "seconds": seconds, "failed": 1} | facts


# --- throughput -------------------------------------------------------------------------------------------------
def test_one_painter():
    edges, rates = rates_over_time([("0", 64, 2.0), ("0", 64, 4.0), ("0", 30, 1.0)])
    assert edges.tolist() == [0, 2, 6, 7] and rates.tolist() == [32, 16, 30]


def test_painters_add_up_while_they_paint():
    edges, rates = rates_over_time([("0", 40, 2.0), ("1", 30, 3.0), ("0", 40, 2.0)])
    assert edges.tolist() == [0, 2, 3, 4] and rates.tolist() == [30, 30, 20]


def test_of_very_many_shards_no_image_is_lost():
    rng = np.random.default_rng(0)
    shards = [(str(n % 7), int(rng.integers(1, 100)), float(rng.uniform(0.1, 9))) for n in range(5000)]
    edges, rates = rates_over_time(shards)
    assert len(rates) == SPANS_AT_MOST
    assert (rates * np.diff(edges)).sum() == pytest.approx(sum(images for _, images, _ in shards))


def test_a_painting_tells_what_its_records_tell():
    made = {"backend": "openvino", "device": "cpu", "precision": "bf16", "rows": 32}
    one = painting_of("dog", [record(rank=0, **made), record(rank=1, **made), record(seconds=None), record(seconds=0)])
    assert (one.images, one.shards, one.failed, one.painters, one.unclocked) == (256, 4, 4, 2, 2)
    assert (one.seconds, one.img_per_s) == (2.0, 64.0)
    assert one.made == ("", "openvino, cpu, bf16, 32 rows")
    assert one.path == "M0 60L0 4.4L100 4.4L100 60Z" and one.what == "images"


def test_without_seconds_there_is_no_curve():
    one = painting_of("dog", [{"samples": 9}])
    assert (one.img_per_s, len(one.rates), one.unclocked) == (0.0, 0, 1)


def test_paintings_of_a_run(run):
    add_shard(run, "noise", 0, samples(per_anchor=1), seconds=1.0)
    add_shard(run, "dog", 0, samples(per_anchor=1), seconds=3.0)
    add_shard(run, "dog", 1, samples(per_anchor=1), seconds=1.0, kind="latent")
    publish(run.outliers("dog") / "records" / "00002.json", "torn {")
    publish(run.outliers("dog") / "records" / "00003.json", to_json({"samples": -3}))
    dog, noise = build_paintings(run)
    assert (dog.source, dog.images, dog.what, dog.rates.tolist()) == ("dog", 30, "latents", [5, 15])
    assert (noise.source, noise.img_per_s) == ("noise", 15)


# --- training curves --------------------------------------------------------------------------------------------
def test_curves_of_what_was_logged(run):
    add_training(run, "dog", steps=4)
    (training,) = read_trainings(run)
    assert (training.name, training.epochs, training.seconds, training.img_per_s, training.unit) == (
        "dog",
        2,
        12.4,
        321,
        "steps",
    )
    assert [series.name for series in training.series] == ["ce", "oe", "lr"]
    ce, _, lr = training.series
    assert (ce.first, ce.last, ce.low, ce.high) == ("2", "0.5", "0.5", "2")
    assert ce.path == "M25 1.8L50 39.4L75 51.9L100 58.2" and lr.path.startswith("M25 58.2")
    assert ce.ticks[-1].text == "150"


def test_curves_of_epochs_where_no_steps_were_logged(run):
    add_training(run, "dog")
    (run.classifier("dog") / "metrics.jsonl").unlink()
    (training,) = read_trainings(run)
    assert training.unit == "epochs"
    assert [(series.name, series.steps.tolist()) for series in training.series] == [("ce", [1, 2])]


def test_a_line_cut_short_ends_the_rows(run):
    add_training(run, "dog", steps=3)
    path = run.classifier("dog") / "metrics.jsonl"
    path.write_text(path.read_text()[:-9])
    assert len(read_trainings(run)[0].series[0].steps) == 2


def test_what_is_no_number_is_passed_over():
    rows = [
        {"step": 1, "ce": 2.0, "note": "x"},
        {"step": "2", "ce": 1.0},
        {"step": 3, "ce": float("nan")},
        {"step": 4, "ce": 1},
    ]
    (ce,) = series_of(rows)
    assert ce.steps.tolist() == [1, 4] and ce.values.tolist() == [2, 1]


def test_a_long_training_is_thinned(run):
    rows = [{"step": n, "ce": 1 / n} for n in range(1, 20_001)]
    (ce,) = series_of(rows)
    assert len(ce.path) < 1000 and ce.path.endswith("L100 58.2")


def test_records_of_something_else_do_no_harm(run):
    for name, record in (("a", [1]), ("b", {"history": 3, "seconds": "long"}), ("c", {"history": [None, {"ce": "x"}]})):
        publish(run.classifier(name) / "train.json", json.dumps(record))
    assert [(training.epochs, training.series) for training in read_trainings(run)] == [(0, ()), (0, ()), (1, ())]


# --- what it learned from ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "source"), [("dog", "dog"), ("oe@2", "dog"), ("oe+noise", "noise"), ("dog+renders@1", "renders")]
)
def test_source_of_a_classifier(name, source):
    assert source_of(name) == source


def test_overview_of_what_is_painted(run):
    from dogfast.reporting.gallery import build_gallery
    from tests.reporting.made_up_run import twins

    add_shard(run, "dog", 0, samples(), seconds=4.0)
    distances = {(name, "word4"): 0.1 for name in ("circle", "ring")}
    overview = build_overview(None, build_gallery(run, twins(), distances), build_paintings(run), 15)
    assert overview.facts == (
        ("120", "painted images"),
        ("15", "words near the classes"),
        ("3", "known classes"),
        ("30", "images a second"),
    )
    assert [(tile.class_name, len(tile.outliers)) for tile in overview.tiles][:2] == [("circle", 3), ("ring", 3)]
    assert overview.tiles[0].words == "word4, word0 and word1", "nearest first"


def test_no_overview_of_nothing(run):
    from dogfast.reporting.gallery import build_gallery

    assert build_overview(None, build_gallery(run, {}, {}), [], 0) is None
