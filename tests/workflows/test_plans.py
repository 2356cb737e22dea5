"""--dry-run: everything is checked and counted, nothing is written."""

import json

import pytest

from dogfast.data.catalogue import load_id
from dogfast.errors import DataError, UsageError
from dogfast.events import Events
from dogfast.rounds import plan_file
from dogfast.run import Run, publish
from dogfast.workflows import api
from dogfast.workflows.demo import ROWS
from dogfast.workflows.plans import plan_anchors, plan_demo, plan_evaluate, plan_generate, plan_refine, plan_report, plan_train
from dogfast.workflows.refinement.request import Refinement

ALL = (plan_anchors, plan_generate, plan_train, plan_evaluate, plan_report, plan_demo)
CLASSES = 8


@pytest.mark.parametrize("plan", ALL, ids=lambda plan: plan.__name__)
def test_nothing_is_written(tmp_path, config, plan):
    assert plan(config(), Run(tmp_path / "run"), Events())
    assert list(tmp_path.iterdir()) == []


def test_generate_counts_what_is_left(tmp_path, config):
    run, events = Run(tmp_path / "run"), Events()
    fresh = plan_generate(config(), run, events)
    assert (fresh["images"], fresh["images_left"], fresh["shards"]) == (3 * CLASSES, 3 * CLASSES, 3)
    assert "DeepCache" not in fresh["recipe"]
    assert plan_generate(config(synthesis={"deepcache": 3}), run, events)["recipe"].endswith(", DeepCache 3")
    assert fresh["bytes"] > 0 and isinstance(fresh["seconds"], str) and fresh["anchors_found"] is False
    api.generate(config(), run.root)
    done = plan_generate(config(), run, events)
    assert (done["images_left"], done["bytes"], done["seconds"], done["anchors_found"]) == (0, 0, 0.0, True)
    more = plan_generate(config(synthesis={"m": 6}), run, events)
    assert (more["images_left"], more["images"]) == (3 * CLASSES, 6 * CLASSES)
    stored = sum(path.stat().st_size for path in run.outliers("dog").glob("*.tar"))
    assert more["bytes"] == pytest.approx(stored, abs=8) and isinstance(more["seconds"], float)


def test_edited_anchors_are_read(tmp_path, config):
    run, events, edited = Run(tmp_path / "run"), Events(), tmp_path / "edited.jsonl"
    chosen = config(concepts={"anchors": str(edited)})
    with pytest.raises(UsageError, match=r"--anchors .* is no file"):
        plan_generate(chosen, run, events)
    names = load_id(chosen.data).class_names
    edited.write_text("".join(json.dumps({"class_name": name, "word": f"a {name}"}) + "\n" for name in names))
    plan = plan_generate(chosen, run, events)
    assert plan["anchors"] == f"{CLASSES} of {edited}" and "vocabulary" not in plan


def test_refine_counts_all_rounds_and_what_is_left_of_them(tmp_path, config):
    run, events, asked = Run(tmp_path / "run"), Events(), Refinement(rounds=3, patience=3)
    fresh = plan_refine(config(), run, events, asked)
    assert (fresh["images"], fresh["images_left"], fresh["shards"], fresh["rounds_done"]) == (72, 72, 9, [])
    api.generate(config(synthesis={"m": 5}), run.root)
    more = plan_refine(config(), run, events, asked)
    assert (more["images"], more["images_left"]) == (40 + 48, 48), "the first round takes what is planned"
    publish(plan_file(run, "dog", 2), "{}")
    assert plan_refine(config(), run, events, asked)["images"] == 40 + 24, "what is planned of a round is counted there"


def test_train_counts_steps_and_says_what_is_there(tmp_path, config):
    run, events = Run(tmp_path / "run"), Events()
    plan = plan_train(config(training={"objective": "oe"}), run, events)
    assert (plan["name"], plan["trained"], plan["start_trained"], plan["outliers_painted"]) == ("oe", False, False, False)
    assert plan["steps"] == plan["id_images"] // 16 and plan["images"] == plan["steps"] * (16 + 8)
    assert plan_train(config(training={"objective": "oe", "outliers": "noise"}), run, events)["outliers_painted"] is True
    ce = plan_train(config(training={"objective": "ce", "pretrain_epochs": 7}), run, events)
    assert (ce["outliers"], ce["epochs"], ce["images"]) == ("unused", 7, ce["steps"] * 16)
    api.train(config(training={"objective": "oe"}), run.root)
    after = plan_train(config(training={"objective": "oe"}), run, events)
    assert after["trained"] and after["start_trained"] and after["outliers_painted"]
    elsewhere = config(training={"objective": "oe", "outliers": str(run.outliers("dog"))})
    assert plan_train(elsewhere, Run(tmp_path / "other"), events)["outliers_painted"] is True


def test_a_plan_of_oal_names_its_latents(tmp_path, config):
    run, chosen = Run(tmp_path / "run"), config(training={"objective": "oal"})
    plan = plan_train(chosen, run, Events())
    assert (plan["name"], plan["outliers"], plan["outliers_painted"]) == ("oal", "dog-latent", False)
    assert (plan["from"], plan["images"]) == ("ce", plan["steps"] * (16 + 8))
    api.generate(config(), run.root)
    assert plan_train(chosen, run, Events())["outliers_painted"] is False, "images are no latents"
    api.generate(config(synthesis={"output_kind": "latent"}), run.root)
    assert plan_train(chosen, run, Events())["outliers_painted"] is True


def test_what_would_be_painted_first_is_no_mistake(tmp_path, config):
    chosen = config(training={"objective": "oe", "outliers": "textual-near-ood", "id_synthetic": 0.5})
    plan = plan_train(chosen, Run(tmp_path / "run"), Events())
    assert plan["outliers_painted"] is False and plan["id_control_painted"] is False
    plain = plan_train(config(training={"objective": "oe", "outliers": "noise"}), Run(tmp_path / "run"), Events())
    assert plan["id_images"] == 2 * plain["id_images"] and plan["steps"] >= 2 * plain["steps"]


@pytest.mark.parametrize(
    "plan, sections, error",
    [
        (plan_generate, {"synthesis": {"recipe": "fast"}}, UsageError),
        (plan_train, {"training": {"objective": "oe", "outliers": "unpainted"}}, DataError),
        (plan_train, {"training": {"backbone": "resnet50"}}, UsageError),
        (plan_evaluate, {"detection": {"ood": ("lsun",)}}, DataError),
        (plan_train, {"data": {"classes": "/nowhere"}}, UsageError),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused(tmp_path, config, plan, sections, error):
    with pytest.raises(error):
        plan(config(**sections), Run(tmp_path / "run"), Events())


def test_evaluate_lists_sets_and_scores(tmp_path, config):
    plan = plan_evaluate(config(), Run(tmp_path / "run"), Events())
    assert plan["ood"] == {"held-out-shapes": "painted", "gaussian": "painted"}
    assert (plan["name"], plan["trained"], plan["scores"]) == ("dog", False, ["msp", "energy", "ash-s"])


def test_report_lists_what_was_evaluated(tmp_path, config):
    assert plan_report(config(), Run(tmp_path / "run"), Events())["evaluated"] == []
    api.evaluate(config(training={"objective": "ce"}), tmp_path / "run")
    assert plan_report(config(), Run(tmp_path / "run"), Events())["evaluated"] == ["ce"]


def test_demo_names_the_classifiers_it_will_train(tmp_path, config):
    names = [objective + (f"+{source}" if source != "dog" else "") for objective, source in ROWS]
    assert plan_demo(config(), Run(tmp_path / "run"), Events())["classifiers"] == names
    both = plan_demo(config(), Run(tmp_path / "run"), Events(), refined=True)
    assert (both["images"], both["images_left"], both["classifiers"][-1]) == (48, 48, "dog~2")
