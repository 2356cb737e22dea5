"""The comparison: every cell once, what stands is left alone, what fails is told, seeds and swept values apart.

Trainings and evaluations are made up, but for the slow tests at the end.
"""

import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest
import torch

import dogfast.data.catalogue as catalogue
import dogfast.workflows.chain as chain
import dogfast.workflows.compare as module
import dogfast.workflows.comparison.cells as cells
import dogfast.workflows.comparison.inside as inside
import dogfast.workflows.comparison.sweep as sweep
from dogfast.data.catalogue import SHAPES_TEST_IMAGES
from dogfast.environment import machine_cores
from dogfast.errors import DataError, EnvironmentFault, RunMismatch, UsageError
from dogfast.events import Events
from dogfast.run import Run, publish, read_json, to_json
from dogfast.shards.reader import read_records
from dogfast.training.names import classifier_name
from dogfast.workflows import api
from dogfast.workflows.compare import plan_compare
from dogfast.workflows.comparison.inside import run_at, take_over
from dogfast.workflows.comparison.request import Comparison
from tests.environment import ENVIRONMENT

write_evaluation = runpy.run_path(str(Path(__file__).parent / "comparison" / "made_up.py"))["write_evaluation"]
TABLE_4 = ["ce", "oe+noise", "oe", "energy-oe+noise", "energy-oe", "poem+noise", "poem"]
OF_4 = {"tables": (4,), "auxiliary": "noise"}


@pytest.fixture
def config(config):
    """Without corrupted images, which no table tells of."""
    return lambda **sections: config(**sections | {"detection": {"corrupted_images": 0} | sections.get("detection", {})})


@pytest.fixture(autouse=True)
def anchors(world, monkeypatch):
    monkeypatch.setattr(module, "find_anchors", chain.find_anchors)


@pytest.fixture
def made(monkeypatch):
    """Trainings and evaluations in no time; by verb the names of what was made, in order."""
    found = {"paint": [], "train": [], "evaluate": []}

    def paint(config, run, events):
        found["paint"].append((config.synthesis.source, config.synthesis.m))

    def train(config, run, events):
        name = classifier_name(config.training)
        found["train"].append(name)
        publish(run.classifier(name) / "train.json", to_json({"seconds": 3.0, "of": name}))

    def evaluate(config, run, events):
        name = classifier_name(config.training)
        found["evaluate"].append(name)
        rejects = ("rejection",) if config.training.objective == "atom" else ()
        apart = 1.0 if config.training.objective == "ce" else 3.0
        write_evaluation(run, name, apart, (*config.detection.scores, *rejects), seed=config.training.train_seed)

    for verb, work in {"run_generate": paint, "run_train": train, "run_evaluate": evaluate}.items():
        monkeypatch.setattr(cells, verb, work)
    monkeypatch.setattr(cells, "source_digest", lambda run, source: source)
    return found


def forget(made):
    for names in made.values():
        names.clear()


def table(result, number=4):
    rows = read_json(Path(result["tables"][str(number)]["json"]))["rows"]
    return {row["method"]: row for row in rows}


def test_every_cell_is_made_once_and_stands_from_then_on(tmp_path, config, made, said):
    result = api.compare(config(), tmp_path / "run", **OF_4)
    assert made["train"] == made["evaluate"] == TABLE_4 and set(made["paint"]) == {("dog", 3)}
    assert result["tables"]["4"].keys() == {"md", "csv", "json", "tex"} and result["failed"] == [] and result["not_run"] == {}
    assert all(row["status"] == "ok" and row["against"] for row in table(result).values())
    assert table(result)["POEM + DOG"]["against"]["POEM"]["verdict"] == "undecided", "both are made up alike"
    forget(made)
    again = api.compare(config(), tmp_path / "run", said.sink, **OF_4)
    assert made == {"paint": [], "train": [], "evaluate": []} and said.holds("7 of 7 classifiers stand")
    assert table(again) == table(result)


def test_table_1_has_every_method_on_its_own_outliers(tmp_path, config, made):
    result = api.compare(config(), tmp_path / "run", tables=(1,), auxiliary="noise")
    assert result["not_run"] == {} and {row["status"] for row in table(result, 1).values()} == {"ok"}
    names = {row["classifier"]: row["score"] for row in table(result, 1).values() if row["group"] == "training"}
    assert names == {
        "csi": "msp", "confgan": "msp", "vos": "energy", "npos": "knn", "oe+noise": "msp", "energy-oe+noise": "energy",
        "atom+noise": "rejection", "doe+noise": "maxlogit", "poem+noise": "energy", "oal": "energy", "dog": "ash-s",
    }  # fmt: skip
    assert ("dog-latent", 3) in made["paint"], "oal meets latents"
    forget(made)
    api.compare(config(), tmp_path / "run", tables=(1, 2, 4), auxiliary="noise")
    assert set(made["train"]) == {"oe", "energy-oe", "poem"} | {
        f"dog+{strategy}"
        for strategy in ("visual-reconstruction", "textual-perturbation", "visual-interpolation", "textual-interpolation", "textual-near-ood", "boundary")
    }  # fmt: skip


def test_scores_that_are_left_out_are_no_rows_and_judge_no_training(tmp_path, config, made):
    result = api.compare(config(), tmp_path / "run", tables=(1,), auxiliary="noise", scores=("energy", "knn"))
    rows = table(result, 1)
    assert result["not_run"]["ASH"] == "--scores leaves out ash-s" and rows["MSP"]["status"].startswith("not run")
    judges = {method: rows[method]["score"] for method in ("Free Energy", "KNN+", "OE", "DOG", "ATOM", "NPOS")}
    assert judges == {
        "Free Energy": "energy",
        "KNN+": "knn",
        "OE": "energy",
        "DOG": "energy",
        "ATOM": "rejection",
        "NPOS": "knn",
    }
    assert {rows[method]["status"] for method in judges} == {"ok"}


@pytest.mark.parametrize("verb", ["run_train", "run_evaluate"])
def test_a_comparison_that_was_killed_goes_on(tmp_path, config, made, monkeypatch, verb):
    plain = getattr(cells, verb)

    def killed(config, run, events):
        if classifier_name(config.training) == "oe":
            raise KeyboardInterrupt
        plain(config, run, events)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cells, verb, killed)
        api.compare(config(), tmp_path / "run", **OF_4)
    assert made["evaluate"] == ["ce", "oe+noise"]
    (tmp_path / "run" / "evaluation" / "oe+noise" / "settings.json").unlink()
    forget(made)
    assert api.compare(config(), tmp_path / "run", **OF_4)["failed"] == []
    assert made["evaluate"] == TABLE_4[1:], "what was not committed is evaluated again"


def test_what_changed_since_is_evaluated_again(tmp_path, config, made):
    run = Run(tmp_path / "run")
    settings, record = run.evaluation("oe") / "settings.json", run.classifier("oe") / "train.json"
    damages = {
        "evaluated by others": lambda: write_evaluation(run, "oe", 2.0),
        "trained by others": lambda: publish(record, "{}"),
        "a list": lambda: publish(settings, "[1]"),
        "no scores": lambda: publish(settings, '{"scores": 3}'),
        "no JSON": lambda: publish(settings, "{"),
        "no metrics": (run.evaluation("oe") / "metrics.json").unlink,
    }
    api.compare(config(), run.root, **OF_4)
    for what, damage in damages.items():
        forget(made)
        damage()
        assert api.compare(config(), run.root, **OF_4)["failed"] == [], what
        assert made["evaluate"] == ["oe"], what


def test_other_sets_are_evaluated_anew_and_fewer_scores_are_not(tmp_path, config, made):
    api.compare(config(), tmp_path / "run", **OF_4)
    forget(made)
    result = api.compare(config(), tmp_path / "run", **OF_4, scores=("energy",))
    assert made["evaluate"] == [] and {row["score"] for row in table(result).values()} == {"energy"}
    api.compare(config(detection={"ood": ("gaussian",)}), tmp_path / "run", **OF_4)
    assert made["evaluate"] == TABLE_4


def test_a_cell_that_fails_leaves_the_others_alone_and_is_tried_again(tmp_path, config, made, monkeypatch):
    plain = cells.run_train

    def spoiled(config, run, events):
        if config.training.objective == "energy-oe":
            raise DataError("there is | no energy\nhere")
        plain(config, run, events)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "run_train", spoiled)
        result = api.compare(config(), tmp_path / "run", **OF_4)
    failed = [{"seed": 0, "name": name, "reason": "there is | no energy"} for name in ("energy-oe+noise", "energy-oe")]
    assert result["failed"] == failed
    rows = table(result)
    assert rows["Energy-OE"]["status"] == "failed: there is | no energy" and rows["POEM + DOG"]["status"] == "ok"
    assert "failed: there is \\| no energy" in (tmp_path / "run/comparison/table-4.md").read_text()
    forget(made)
    assert api.compare(config(), tmp_path / "run", **OF_4)["failed"] == []
    assert made["train"] == ["energy-oe+noise", "energy-oe"]


def test_without_the_baseline_there_is_no_table(tmp_path, config, made, monkeypatch):
    def spoiled(config, run, events):
        raise DataError("no images")

    monkeypatch.setattr(cells, "run_train", spoiled)
    with pytest.raises(DataError, match="no images"):
        api.compare(config(), tmp_path / "run", **OF_4)


def test_rows_without_auxiliary_images_say_so(tmp_path, config, made, monkeypatch):
    monkeypatch.setattr("dogfast.workflows.comparison.wanted.AUXILIARY_OF", {})
    result = api.compare(config(), tmp_path / "run", tables=(4,))
    assert result["not_run"].keys() == {"OE", "Energy-OE", "POEM"} and result["failed"] == []
    assert table(result)["OE"]["status"] == "not run: there are no auxiliary images for shapes; name some with --auxiliary PATH"
    assert table(result)["OE + DOG"]["status"] == "ok" and made["train"] == ["ce", "oe", "energy-oe", "poem"]


@pytest.mark.parametrize("section, field", [("training", {"tune": ("lr=0.1",)}), ("training", {"follow": True}), ("synthesis", {"budget": "9m"})])  # fmt: skip
def test_what_makes_rows_unequal_is_refused(tmp_path, config, made, section, field):
    with pytest.raises(UsageError, match="leave out --tune, --follow and --budget"):
        api.compare(config(**{section: field}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_auxiliary_images_that_are_not_there_are_refused_first(tmp_path, config, made):
    with pytest.raises(DataError, match="--auxiliary '/nowhere' is neither a source"):
        api.compare(config(), tmp_path / "run", auxiliary="/nowhere")
    with pytest.raises(UsageError, match="--auxiliary renders"):
        api.compare(config(data={"classes": "cifar10"}, detection={"ood": ("noise",)}), tmp_path / "run", auxiliary="renders")
    assert not made["train"] and not (tmp_path / "run").exists()


def test_each_seed_is_a_run_of_its_own(tmp_path, config, made):
    run = Run(tmp_path / "run")
    result = api.compare(config(), run.root, **OF_4, seeds=(0, 3))
    other = Run(run.root / "seeds" / "3")
    assert {path.name for path in other.root.glob("classifiers/*")} == {f"{name}@3" for name in TABLE_4}
    assert {path.name for path in run.root.glob("classifiers/*")} == set(TABLE_4)
    assert "train_seed = 3" in other.config_file.read_text() and "train_seed = 0" in run.config_file.read_text()
    row = table(result)["OE + DOG"]
    assert (row["classifier"], row["seeds"]) == ("oe", [0, 3]) and row["figures"]["msp"]["average"]["fpr95"]["std"] is not None
    forget(made)
    alone = api.compare(config(), run.root, **OF_4, seeds=(3,))
    assert made["train"] == [] and table(alone)["OE"]["seeds"] == [3]


def test_a_swept_value_that_fails_leaves_the_others_alone(tmp_path, config, made, monkeypatch):
    plain = cells.run_train

    def spoiled(config, run, events):
        if config.synthesis.m == 2:
            raise DataError("too few")
        plain(config, run, events)

    monkeypatch.setattr(cells, "run_train", spoiled)
    result = api.compare(config(), tmp_path / "run", sweep=("m=4,2",))
    assert result["failed"] == [{"seed": 0, "name": "m=2", "reason": "too few"}] and result["tables"] == {}
    rows = read_json(tmp_path / "run/comparison/sweep-m.json")["rows"]
    assert [(row["value"], row["status"]) for row in rows] == [(2, "failed: too few"), (4, "ok")]
    lines = (tmp_path / "run/comparison/sweep-m.csv").read_text().splitlines()
    assert lines[0].startswith("axis,value,score") and len(lines) == 1 + 1 + 3
    assert (tmp_path / "run/comparison/sweep-m.png").read_bytes().startswith(b"\x89PNG")


def test_scores_that_not_every_value_was_judged_by_are_in_no_figure():
    rows = [{"figures": {"msp": 1, "energy": 2}}, {"figures": {"msp": 3}}]
    assert sweep._scores_of_all(rows) == ["msp"] and sweep._scores_of_all([]) == []


def test_the_own_seed_of_a_comparison_stays(tmp_path, config, made):
    api.compare(config(), tmp_path / "run", **OF_4)
    with pytest.raises(RunMismatch, match="train_seed: was 0, now 1"):
        api.compare(config(training={"train_seed": 1}), tmp_path / "run", **OF_4, seeds=(0, 1))


def test_a_takeover_that_was_cut_off_is_made_again(tmp_path, config, monkeypatch):
    source, target = Run(tmp_path / "one"), Run(tmp_path / "other")
    api.generate(config(), source.root)
    own, calls = inside._copy, []

    def fails(place, goal):
        calls.append(place)
        if len(calls) == 2:
            raise KeyboardInterrupt
        own(place, goal)

    stages = ("concepts", "synthesis/dog")
    with run_at(target.root, config(), source) as inner:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(inside, "_copy", fails)
            take_over(source, inner, config(), stages)
        take_over(source, inner, config(), stages)
        assert inner.state["stages"] == source.state["stages"]
    for folder in (source.plan("dog"), source.outliers("dog")):
        for path in folder.rglob("*.*"):
            assert (target.root / path.relative_to(source.root)).read_bytes() == path.read_bytes()


def test_a_plan_lists_every_cell_and_writes_nothing(tmp_path, config, made):
    run, request = Run(tmp_path / "run"), Comparison(**OF_4, seeds=(0, 1), sweep=("m=2",))
    plan = plan_compare(config(), run, Events(), request)
    names = [*TABLE_4, "m=2", *(f"{name}@1" for name in TABLE_4), "m=2"]
    assert [cell["name"] for cell in plan["cells"]] == names and not run.root.exists()
    assert {cell["state"] for cell in plan["cells"]} == {"to be trained"} and plan["seconds"] == "not measured yet on this run"
    assert plan["images_to_paint"] == 2 * (8 * 3 + 8 * 2) and plan["bytes"] > 0
    assert plan["images_to_train"] == sum(cell["images"] for cell in plan["cells"])
    api.compare(config(), run.root, **OF_4)
    (run.evaluation("poem") / "settings.json").unlink()
    done = plan_compare(config(), run, Events(), Comparison(**OF_4))
    assert [cell["state"] for cell in done["cells"]] == ["stands"] * 6 + ["to be evaluated"]
    assert (done["images_to_paint"], done["images_to_train"], done["classifiers_to_evaluate"]) == (0, 0, 1)
    assert done["seconds"] == 2.0, "what an evaluation took"


def test_a_plan_foresees_what_fails(tmp_path, config, made, monkeypatch):
    def broken(run, source):
        raise DataError(f"the shards of {source} are broken")

    api.compare(config(), tmp_path / "run", **OF_4)
    monkeypatch.setattr(cells, "source_digest", broken)
    plan = plan_compare(config(), Run(tmp_path / "run"), Events(), Comparison(**OF_4))
    states = {cell["name"]: cell["state"] for cell in plan["cells"]}
    assert states["ce"] == "stands" and states["oe"] == "would fail: the shards of dog are broken"


# --- in earnest -------------------------------------------------------------------------------------------------
@pytest.fixture
def all_test_images(world, monkeypatch):
    """Other processes know nothing of what `world` replaces."""
    monkeypatch.setattr(catalogue, "SHAPES_TEST_IMAGES", SHAPES_TEST_IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_real_classifiers_fail_alone_and_others_stand(tmp_path, config, all_test_images, jobs):
    """The fake conditions are of `dog` alone, and one classifier was trained otherwise before."""
    api.train(config(training={"objective": "oe", "epochs": 2}), tmp_path / "run")
    result = api.compare(config(), tmp_path / "run", tables=(2, 4), auxiliary="noise", jobs=jobs)
    reasons = {each["name"]: each["reason"] for each in result["failed"]}
    assert "epochs: was 2, now 1" in reasons.pop("oe")
    assert len(reasons) == 6 and all(name.startswith("dog+") for name in reasons)
    assert table(result)["POEM + DOG"]["status"] == table(result, 2)["DOG"]["status"] == "ok"


@pytest.mark.slow
def test_a_sweep_takes_over_what_it_can(tmp_path, config, world):
    run = Run(tmp_path / "run")
    chosen = config(training={"id_synthetic": 0.25})
    result = api.compare(chosen, run.root, sweep=("m=4,2,k=5",))
    assert result["tables"] == {} and result["failed"] == []
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
    before = world.count("train")
    api.compare(chosen, run.root, sweep=("m=2,4",))
    assert world.count("train") == before


@pytest.mark.slow
def test_several_at_a_time_are_the_same_classifiers(tmp_path, config, all_test_images):
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, machine_cores() // 2))  # what each of two has
    try:
        found = {jobs: api.compare(config(), tmp_path / str(jobs), **OF_4, jobs=jobs) for jobs in (1, 2)}
    finally:
        torch.set_num_threads(threads)
    assert found[1]["failed"] == found[2]["failed"] == []
    one, other = (Run(tmp_path / str(jobs)) for jobs in found)
    for name in TABLE_4:
        weights = [(run.classifier(name) / "model.safetensors").read_bytes() for run in (one, other)]
        assert weights[0] == weights[1], name
    assert table(found[1]) == table(found[2])
    assert {path.stem for path in other.root.glob("events/*.jsonl")} >= set(TABLE_4[1:]), "each has a diary of its own"


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_comparison_and_the_next_goes_on(tmp_path, config, all_test_images):
    """As where memory is short; the other is ended too, and nothing is held any more."""
    run, killed = Run(tmp_path / "run"), []

    def kill_one():
        while not killed:
            time.sleep(0.05)
            begun = [path for path in run.root.glob("events/*.jsonl") if path.stem != "0"]
            killed.extend(child.pid for child in multiprocessing.active_children()[:1] if begun)
        os.kill(killed[0], signal.SIGKILL)

    Thread(target=kill_one).start()
    with pytest.raises(EnvironmentFault, match="--jobs 2: a process that trained was killed"):
        api.compare(config(), run.root, **OF_4, jobs=2)
    assert killed and not multiprocessing.active_children()
    assert api.compare(config(), run.root, **OF_4)["failed"] == []


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them():
    script = """
import os, signal, time
from dogfast.workflows.comparison.jobs import _workers
with _workers(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, timeout=120)
    worker, patience = int(done.stdout), time.monotonic() + 30
    assert done.returncode == -signal.SIGKILL
    while Path(f"/proc/{worker}").exists() and time.monotonic() < patience:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()
