"""The demo's workflow on tiny settings: four classifiers, one table, the seconds of each stage."""

import json

from dogfast.run import Run
from dogfast.workflows import api
from dogfast.workflows.demo import ROWS, demo_config, demo_table


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


def test_the_seed_reaches_every_stage():
    config = demo_config(7)
    assert (config.concepts.concepts_seed, config.synthesis.seed, config.training.train_seed) == (7, 7, 7)
    assert demo_config(7) == config != demo_config(8)
    assert config.data.classes == "shapes" and len(ROWS) == 4
