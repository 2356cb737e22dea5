"""The comparison on tiny settings: every cell once, what stands is left alone, what fails is told, seeds and sweeps apart."""

import json

import pytest

import dogfast.workflows.chain as chain
import dogfast.workflows.compare as module
import dogfast.workflows.comparison.cells as cells
from dogfast.errors import DataError, UsageError
from dogfast.events import Events
from dogfast.run import Run, read_json
from dogfast.shards.reader import read_records
from dogfast.training.names import classifier_name
from dogfast.workflows import api
from dogfast.workflows.compare import plan_compare
from dogfast.workflows.comparison.request import Comparison

TABLE_4 = ["ce", "oe+noise", "oe", "energy-oe+noise", "energy-oe", "poem+noise", "poem"]


@pytest.fixture(autouse=True)
def trained(world, monkeypatch):
    """The fake generator here too; the names of what is trained and of what is evaluated, in order."""
    monkeypatch.setattr(module, "find_anchors", chain.find_anchors)
    found = {"train": [], "evaluate": []}
    for verb in ("train", "evaluate"):
        plain = getattr(cells, f"run_{verb}")

        def noted(config, run, events, verb=verb, plain=plain):
            found[verb].append(classifier_name(config.training))
            return plain(config, run, events)

        monkeypatch.setattr(cells, f"run_{verb}", noted)
    return found


def table(result, number=4):
    return {row["method"]: row for row in read_json_of(result, number)["rows"]}


def read_json_of(result, number):
    with open(result["tables"][str(number)]["json"], encoding="utf-8") as file:
        return json.load(file)


def test_every_cell_is_made_once_and_stands_from_then_on(tmp_path, config, trained, said):
    result = api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")
    assert trained == {"train": TABLE_4, "evaluate": TABLE_4} and result["failed"] == [] and result["not_run"] == {}
    assert {kind for kind in result["tables"]["4"]} == {"md", "csv", "json", "tex"}
    assert all(row["status"] == "ok" and row["against"] for row in table(result).values())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("classifiers/*/*")}
    for verb in trained.values():
        verb.clear()
    again = api.compare(config(), tmp_path / "run", said.sink, tables=(4,), auxiliary="noise")
    assert trained == {"train": [], "evaluate": []} and said.holds("7 of 7 classifiers stand")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert read_json_of(again, 4) == read_json_of(result, 4)


def test_a_comparison_that_was_killed_goes_on(tmp_path, config, trained, monkeypatch):
    def killed(name, plain):
        def dies(config, run, events):
            if classifier_name(config.training) == name:
                raise KeyboardInterrupt
            return plain(config, run, events)

        return dies

    for verb in ("run_train", "run_evaluate"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(cells, verb, killed("oe", getattr(cells, verb)))
            api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")
    assert trained["train"] == ["ce", "oe+noise", "oe"] and trained["evaluate"] == ["ce", "oe+noise"]
    (tmp_path / "run" / "evaluation" / "oe+noise" / "settings.json").unlink()
    result = api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")
    assert trained["evaluate"][2:] == ["oe+noise", *TABLE_4[2:]], "what was not committed is evaluated again"
    assert result["failed"] == []


def test_what_changed_since_is_evaluated_again(tmp_path, config, trained):
    api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")
    del trained["evaluate"][:]
    api.compare(config(detection={"ood": ("gaussian",)}), tmp_path / "run", tables=(4,), auxiliary="noise")
    assert trained["evaluate"] == TABLE_4
    del trained["evaluate"][:]
    api.evaluate(config(training={"objective": "oe"}), tmp_path / "run")
    api.compare(config(detection={"ood": ("gaussian",)}), tmp_path / "run", tables=(4,), auxiliary="noise")
    assert trained["evaluate"] == ["oe"], "somebody else's evaluation stands there"
    del trained["evaluate"][:]
    few = {"tables": (4,), "auxiliary": "noise", "scores": ("msp", "energy")}
    result = api.compare(config(detection={"ood": ("gaussian",)}), tmp_path / "run", **few)
    assert trained["evaluate"] == [] and list(table(result)["OE"]["figures"]) == ["msp", "energy", "ash-s"]


def test_a_cell_that_fails_leaves_the_others_alone_and_is_tried_again(tmp_path, config, trained, monkeypatch):
    def spoiled(config, run, events):
        if config.training.objective == "energy-oe":
            raise DataError("there is | no energy\nhere")
        return chain.run_train(config, run, events)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "run_train", spoiled)
        result = api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")
    assert [(each["name"], each["reason"]) for each in result["failed"]] == [
        (name, "there is | no energy") for name in ("energy-oe+noise", "energy-oe")
    ]
    rows = table(result)
    assert rows["Energy-OE"]["status"] == "failed: there is | no energy" and rows["POEM + DOG"]["status"] == "ok"
    assert "failed: there is \\| no energy" in (tmp_path / "run/comparison/table-4.md").read_text()
    del trained["train"][:]
    mended = api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")
    assert trained["train"] == ["energy-oe+noise", "energy-oe"] and mended["failed"] == []


def test_a_classifier_of_other_settings_is_a_failed_row(tmp_path, config):
    api.train(config(training={"objective": "oe", "epochs": 2}), tmp_path / "run")
    result = api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")
    (failed,) = result["failed"]
    assert failed["name"] == "oe" and "epochs: was 2, now 1" in failed["reason"]


def test_without_the_baseline_there_is_no_table(tmp_path, config, monkeypatch):
    def spoiled(config, run, events):
        raise DataError("no images")

    monkeypatch.setattr(cells, "run_train", spoiled)
    with pytest.raises(DataError, match="no images"):
        api.compare(config(), tmp_path / "run", tables=(4,), auxiliary="noise")


def test_strategies_without_conditions_fail_alone(tmp_path, config):
    result = api.compare(config(), tmp_path / "run", tables=(2,))
    rows = table(result, 2)
    assert rows["DOG"]["status"] == rows["No outliers"]["status"] == "ok"
    assert rows["Boundary"]["status"].startswith("failed: ") and len(result["failed"]) == 6


def test_rows_that_need_auxiliary_images_say_so(tmp_path, config, pictures):
    chosen = config(data={"classes": str(pictures)})
    result = api.compare(chosen, tmp_path / "run", tables=(4,), scores=("energy",))
    assert result["not_run"]["Energy-OE"].startswith("there are no auxiliary images for")
    assert (
        result["not_run"]["OE"].startswith("there are no auxiliary")
        and result["not_run"]["OE + DOG"] == "--scores leaves out msp"
    )
    assert {row["status"].partition(":")[0] for row in table(result).values()} == {"not run", "ok"}


@pytest.fixture
def pictures(tmp_path):
    """A folder of eight classes, as many as the fake anchors are of."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for cls in range(8):
        folder = tmp_path / "pictures" / f"class{cls}"
        folder.mkdir(parents=True)
        for number in range(9):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("fields", [{"tune": ("lr=0.1",)}, {"follow": True}])
def test_what_makes_rows_unequal_is_refused(tmp_path, config, fields):
    with pytest.raises(UsageError, match="leave out --tune, --follow and --budget"):
        api.compare(config(training=fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_auxiliary_images_that_are_not_there_are_refused_first(tmp_path, config, trained):
    with pytest.raises(DataError, match="--auxiliary '/nowhere' is neither a source"):
        api.compare(config(), tmp_path / "run", auxiliary="/nowhere")
    with pytest.raises(UsageError, match="--auxiliary renders"):
        api.compare(config(data={"classes": "cifar10"}, detection={"ood": ("noise",)}), tmp_path / "run", auxiliary="renders")
    assert not trained["train"] and not (tmp_path / "run").exists()


def test_each_seed_is_a_run_with_its_own_outliers(tmp_path, config):
    run = Run(tmp_path / "run")
    result = api.compare(config(), run.root, tables=(4,), auxiliary="noise", seeds=(0, 3))
    other = Run(run.root / "seeds" / "3")
    assert {path.name for path in other.root.glob("classifiers/*")} == {f"{name}@3" for name in TABLE_4}
    assert {path.name for path in run.root.glob("classifiers/*")} == set(TABLE_4)
    seeds = [r.state["stages"]["synthesis/dog"]["seed"] for r in (run, other)]
    assert seeds == [0, 3] and read_json_of(result, 4)["seeds"] == [0, 3]
    row = table(result)["OE + DOG"]
    assert row["classifier"] == "oe" and row["seeds"] == [0, 3] and row["figures"]["msp"]["average"]["fpr95"]["std"] is not None
    alone = api.compare(config(), run.root, tables=(4,), auxiliary="noise", seeds=(3,))
    assert read_json_of(alone, 4)["seeds"] == [3]


def test_a_sweep_paints_and_trains_at_every_value_and_takes_over_what_it_can(tmp_path, config, world, trained):
    run = Run(tmp_path / "run")
    chosen = config(training={"id_synthetic": 0.25})
    result = api.compare(chosen, run.root, sweep=("m=4,2,k=5",))
    assert trained["train"] == ["ce", "dog", "dog", "dog"] and result["tables"] == {} and result["failed"] == []
    places = {value: Run(run.root / "comparison" / "sweep" / value) for value in ("m=2", "m=4", "k=5")}
    painted = {value: sum(r["samples"] for r in read_records(place.outliers("dog"))) for value, place in places.items()}
    assert painted == {"m=2": 16, "m=4": 32, "k=5": 24}
    first, second = (places[value].outliers("dog") for value in ("m=2", "m=4"))
    assert all((second / tar.name).read_bytes() == tar.read_bytes() for tar in first.glob("*.tar")), "more is appended"
    start = read_json(run.classifier("ce") / "train.json")["sha256"]
    assert {read_json(place.classifier("ce") / "train.json")["sha256"] for place in places.values()} == {start}
    assert world.count("train") == 1 + 3, "the starting classifier once"
    swept = json.loads((run.root / "comparison" / "sweep-m.json").read_text())
    assert [(row["value"], row["outliers"], row["status"]) for row in swept["rows"]] == [(2, [16], "ok"), (4, [32], "ok")]
    lines = (run.root / "comparison" / "sweep-m.csv").read_text().splitlines()
    assert lines[0].startswith("axis,value,score") and len(lines) == 1 + 2 * 3
    assert (run.root / "comparison" / "sweep-m.png").read_bytes().startswith(b"\x89PNG")
    del trained["train"][:]
    api.compare(chosen, run.root, sweep=("m=2,4",))
    assert trained["train"] == []


def test_a_swept_value_that_fails_leaves_the_others_alone(tmp_path, config, monkeypatch):
    plain = cells.run_train

    def spoiled(config, run, events):
        if config.synthesis.m == 2:
            raise DataError("too few")
        return plain(config, run, events)

    monkeypatch.setattr(cells, "run_train", spoiled)
    result = api.compare(config(), tmp_path / "run", sweep=("m=2,4",))
    assert result["failed"] == [{"seed": 0, "name": "m=2", "reason": "too few"}]
    rows = json.loads((tmp_path / "run/comparison/sweep-m.json").read_text())["rows"]
    assert [row["status"] for row in rows] == ["failed: too few", "ok"]


def test_a_plan_lists_every_cell_and_writes_nothing(tmp_path, config):
    run, request = Run(tmp_path / "run"), Comparison(tables=(4,), auxiliary="noise", seeds=(0, 1), sweep=("m=2",))
    plan = plan_compare(config(), run, Events(), request)
    names = [*TABLE_4, "m=2", *(f"{name}@1" for name in TABLE_4), "m=2"]
    assert [cell["name"] for cell in plan["cells"]] == names and not run.root.exists()
    assert {cell["state"] for cell in plan["cells"]} == {"to be trained"} and plan["seconds"] == "not measured yet on this run"
    assert plan["images_to_paint"] == 2 * (8 * 3 + 8 * 2) and plan["bytes"] > 0
    assert plan["images_to_train"] == sum(cell["images"] for cell in plan["cells"])
    api.compare(config(), run.root, tables=(4,), auxiliary="noise")
    (run.evaluation("poem") / "settings.json").unlink()
    done = plan_compare(config(), run, Events(), Comparison(tables=(4,), auxiliary="noise"))
    assert [cell["state"] for cell in done["cells"]] == ["stands"] * 6 + ["to be evaluated"]
    assert (done["images_to_paint"], done["images_to_train"], done["classifiers_to_evaluate"]) == (0, 0, 1)
    assert 0 < done["seconds"] < 60


def test_a_plan_foresees_what_fails(tmp_path, config):
    api.generate(config(synthesis={"output_kind": "latent"}), tmp_path / "run")
    plan = plan_compare(config(), Run(tmp_path / "run"), Events(), Comparison(tables=(4,)))
    assert plan["not_run"] == {}
    broken = plan_compare(config(), Run(tmp_path / "run"), Events(), Comparison(tables=(4,), auxiliary="noise"))
    assert all(cell["state"] == "to be trained" for cell in broken["cells"])
