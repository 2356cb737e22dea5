"""A budget of time or images: which recipe it takes, and how many outliers."""

import runpy
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import dogfast.synthesis.budget as budget
import dogfast.workflows.chain as chain
from dogfast.config import RunConfig
from dogfast.config.synthesis import SynthesisConfig, seconds_of
from dogfast.errors import UsageError
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.reader import read_records

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))
CALL_S = 0.02
ROWS = 4


@pytest.fixture
def painted(tmp_path, monkeypatch):
    """`generate` on a device whose UNet takes `CALL_S` a call: (what it answered, what it said)."""
    monkeypatch.setattr(chain, "find_anchors", fakes.write_conditions)

    def paint(lora="", painters=1, **synthesis):
        said, config = [], fakes.config(steps=None, rows=ROWS, **synthesis).with_values({"model": {"lora": lora}}, "test")
        monkeypatch.setattr(budget, "open_networks", lambda *given: fakes.networks(pause_s=CALL_S))
        with fakes.installed(), launch(tmp_path / "run", config.to_toml()) as run:
            events = Events(lambda event, fields: said.append(fields.get("text", "")))
            return chain.run_generate(config, run, events, painters=painters), said

    return paint


@pytest.mark.parametrize("text, seconds", [("90s", 90), ("10m", 600), ("2h", 7200), ("007s", 7), ("5000", None)])
def test_a_budget_is_a_time_or_a_number_of_images(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["0", "0m", "-5m", "1.5h", "m", "10 m", "10d", "1e3", "9" * 20])
def test_anything_else_is_refused(text):
    with pytest.raises(UsageError, match=r"--budget .* is neither a time"):
        SynthesisConfig(budget=text)


def test_a_number_of_images_is_spread_over_the_classes_and_keeps_the_recipe(painted):
    result, _ = painted(budget="11")
    assert result["outliers"] == 9 and result["recipe"] == "quality", "3 of each of 3 classes; a fourth would be 12"


def test_the_finest_recipe_that_reaches_m_is_taken(painted):
    """51 guided calls of `paper` take about 1 s a batch here, 20 of `quality` 0.4 s."""
    assert painted(budget="1h", m=2)[0]["recipe"] == "paper"


def test_where_none_reaches_m_the_fastest_paints_what_fits(painted, tmp_path):
    result, said = painted(budget="1s", m=500)
    assert result["recipe"] == "quality"
    assert 3 <= result["outliers"] <= ROWS / (20 * CALL_S), "no more than its calls leave time for"
    assert any("recipe paper: " in text for text in said) and not any("recipe draft: " in text for text in said)
    kept = tomllib.loads((tmp_path / "run" / "run.toml").read_text())["synthesis"]
    assert kept["m"] == result["outliers"] // 3 and kept["recipe"] == "quality" and "budget" not in kept


def test_draft_is_taken_only_where_a_lora_makes_the_generator_fit_for_it(painted):
    assert painted(budget="1s", m=500, lora="lcm.safetensors")[0]["recipe"] == "draft"


def test_many_painters_reach_more(painted):
    assert painted(budget="1s", m=500, painters=5)[0]["outliers"] > ROWS / (20 * CALL_S)


def test_what_is_painted_already_counts_and_keeps_its_recipe(painted, tmp_path):
    painted(m=2, recipe="draft")
    result, _ = painted(budget="1s", m=500)
    assert result["recipe"] == "draft" and result["resumed_shards"] == 2
    records = read_records(tmp_path / "run" / "outliers" / "dog")
    assert sum(record["samples"] for record in records) == result["outliers"] > 6


def test_a_budget_below_one_image_a_class_says_so(painted):
    with pytest.raises(UsageError, match="--budget 2 does not reach one outlier for each of the 3 classes"):
        painted(budget="2")


def test_on_ray_the_number_of_painters_must_be_known():
    with pytest.raises(UsageError, match="--budget on Ray needs --workers"):
        SynthesisConfig(budget="10m", ray="auto")
    assert SynthesisConfig(budget="10m", ray="auto", workers=3).workers == 3


def test_every_distinct_call_is_made_twice_and_counted_as_often_as_a_batch_makes_it():
    calls = []
    stopwatch = budget._Stopwatch()
    networks = fakes.networks(calls, pause_s=CALL_S)
    timed = stopwatch.over(replace(networks, encode=None))
    states = timed.encode_text(fakes.Tokenizer()(["a", "b"])["input_ids"])[0]
    began = time.perf_counter()
    for _ in range(50):
        timed.denoise(fakes.torch.zeros(2, 4, 8, 8), fakes.torch.zeros(2), states)
    assert calls == [("denoise", 2)] * 2 and time.perf_counter() - began < 25 * CALL_S
    assert 50 * CALL_S <= stopwatch.counted < 100 * CALL_S
    assert RunConfig().synthesis.budget == ""
