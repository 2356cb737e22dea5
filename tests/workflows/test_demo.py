"""The demo's workflow on tiny settings: four classifiers, one table, the seconds of each stage."""

import json

import pytest
import torch

from dogfast.classifiers.loading import RECORD_FILE
from dogfast.errors import RunMismatch
from dogfast.events import Events
from dogfast.run import Run, launch, read_json
from dogfast.workflows import api
from dogfast.workflows.demo import ROWS, demo, demo_config, demo_table
from dogfast.workflows.refinement.looks import Looks


def test_the_demo_does_the_whole_job_and_again_nothing_but_scoring(tmp_path, config, world):
    result = api.demo(config(), tmp_path / "run")
    run = Run(tmp_path / "run")
    assert list(result["evaluations"]) == ["ce", "oe+noise", "oe", "dog"]
    assert result["outliers"] == 24 and run.report.exists() and result["report"] == str(run.report)
    assert world.count("train") == 4 and world.count("evaluate") == 4
    assert json.loads(json.dumps(result)) == result
    assert all(len(found["rows"]) == 6 for found in result["evaluations"].values())
    text = demo_table(result)
    for part in ("oe+noise", "held-out-shapes", "gaussian", "ash-s", "report: ", *result["seconds"]):
        assert part in text, part
    assert set(result["seconds"]) >= {"anchors", "generate", "report"} and result["total_s"] >= 0
    again = api.demo(config(), tmp_path / "run")
    for name, found in result["evaluations"].items():
        assert again["evaluations"][name]["rows"] == found["rows"]


def test_the_refined_demo_can_be_done_again(tmp_path, config, monkeypatch):
    import dogfast.workflows.refine as refine

    class Looker:
        def __init__(self, config, data, words, painted, events):
            self.bounds = dict.fromkeys(data.class_names, 0.0)

        def __call__(self, images, facts):
            return Looks(torch.zeros(len(facts), dtype=torch.bool), torch.ones(len(facts)))

    monkeypatch.setattr(refine, "Looker", Looker)

    def refined():
        with launch(tmp_path / "run", config().to_toml()) as run:
            return demo(config(), run, Events(), refined=True)

    result = refined()
    assert list(result["evaluations"]) == ["ce", "oe+noise", "oe", "dog", "dog~2"]
    again = refined()
    assert again["evaluations"].keys() == result["evaluations"].keys()
    assert again["outliers"] == result["outliers"] == 2 * 24, "of both rounds, whenever it is asked"
    with pytest.raises(RunMismatch, match=r"stage 'demo' .*refine: was True, now False"):
        api.demo(config(), tmp_path / "run")
    seen = [read_json(Run(tmp_path / "run").classifier(name) / RECORD_FILE)["identity"] for name in ("oe", "dog", "dog~2")]
    assert seen[0]["outliers"] == seen[1]["outliers"] != seen[2]["outliers"], (
        "only the second round learns from the second round"
    )
    with pytest.raises(RunMismatch, match=r"or give --round 1"):
        api.train(config(), tmp_path / "run")


def test_the_seed_reaches_every_stage():
    config = demo_config(7)
    assert (config.concepts.concepts_seed, config.synthesis.seed, config.training.train_seed) == (7, 7, 7)
    assert demo_config(7) == config != demo_config(8)
    assert config.data.classes == "shapes" and len(ROWS) == 4
