"""A stage whose input is missing runs the stage before it, says so, and refuses what cannot work before it begins."""

import json

import pytest

from dogfast.data.catalogue import load_id
from dogfast.errors import DataError, EnvironmentFault, RunMismatch, UsageError
from dogfast.run import Run, read_json
from dogfast.shards.reader import read_records
from dogfast.workflows import api


def test_report_runs_all_that_is_before_it(tmp_path, config, said, world):
    result = api.report(config(), tmp_path / "run", said.sink)
    run = Run(tmp_path / "run")
    assert world == ["anchors", "generate", "train", "train", "evaluate", "evaluate"]
    for sentence in (
        "nothing is evaluated yet: evaluating first",
        "ce first, which dog is compared with",
        "no classifier 'dog' yet: training it first",
        "no outliers of 'dog' yet: painting them first",
        "no anchors yet: finding them first",
        "no starting classifier yet: training ce first",
    ):
        assert said.holds(sentence), sentence
    assert (result["report"], result["classifiers"]) == (str(run.report), 2) and run.report.exists()
    assert {path.name for path in run.root.glob("classifiers/*")} == {"ce", "dog"}
    assert {path.name for path in run.root.glob("evaluation/*")} == {"ce", "dog"}
    assert read_json(run.evaluation("dog") / "metrics.json")["verdicts"]["against"] == "ce"


def test_a_second_call_runs_the_last_stage_alone(tmp_path, config, said, world):
    api.evaluate(config(), tmp_path / "run")
    del world[:]
    api.evaluate(config(), tmp_path / "run", said.sink)
    assert world == ["evaluate"] and not said.holds("first")


def test_train_paints_and_starts_first(tmp_path, config, world):
    result = api.train(config(training={"objective": "oe"}), tmp_path / "run")
    assert world == ["anchors", "generate", "train", "train"]
    assert (result["name"], result["resumed"]) == ("oe", False)
    del world[:]
    assert api.train(config(training={"objective": "dog"}), tmp_path / "run")["name"] == "dog"
    assert world == ["train"], "outliers and start are there"


def test_training_on_noise_paints_nothing(tmp_path, config, world):
    result = api.train(config(training={"objective": "oe", "outliers": "noise"}), tmp_path / "run")
    assert world == ["train", "train"] and result["name"] == "oe+noise"


def test_ce_needs_no_outliers_whatever_is_said_of_them(tmp_path, config, world):
    assert api.train(config(training={"objective": "ce", "outliers": "nonsense"}), tmp_path / "run")["name"] == "ce"
    assert world == ["train"]


def test_painted_id_images_are_made_first_and_only_once(tmp_path, config, said, world):
    chosen = config(synthesis={"m": 8}, training={"objective": "oe", "id_synthetic": 0.25})
    api.train(chosen, tmp_path / "run", said.sink)
    assert world == ["anchors", "generate", "anchors", "generate", "train", "train"]
    assert said.holds("no outliers of 'id-control' yet")
    run = Run(tmp_path / "run")
    painted = sum(r["samples"] for r in read_records(run.outliers("id-control")))
    data = load_id(chosen.data)
    assert painted % 8 == 0 and painted * 0.8 >= len(data.train) / 3 > (painted - 8) * 0.8, "none that may train is repeated"
    fields = json.loads((run.classifier("oe") / "train.json").read_text())["identity"]
    assert fields["id_synthetic"] == 0.25 and len(fields["id_control"]) == 16
    del world[:]
    controls = api.evaluate(chosen, tmp_path / "run")["artefact_control"]
    assert world == ["evaluate", "evaluate"], "the baseline first"
    assert [row["score"] for row in controls] == ["msp", "energy", "ash-s"]
    assert all(0 <= row["called_ood"] <= 1 and row["n"] == controls[0]["n"] > 0 for row in controls)


def test_a_source_that_is_painted_in_part_is_finished_first(tmp_path, config, said, world):
    api.generate(config(synthesis={"m": 4}), tmp_path / "run")
    folder = Run(tmp_path / "run").outliers("dog")
    whole = {path.name: path.read_bytes() for path in folder.glob("*.tar")}
    for path in (folder / "records" / "00001.json", folder / "train-00001.tar"):
        path.unlink()
    del world[:]
    api.train(config(synthesis={"m": 4}, training={"objective": "oe"}), tmp_path / "run", said.sink)
    assert said.holds("3 of 4 shards of 'dog' are painted") and world[:2] == ["anchors", "generate"]
    assert {path.name: path.read_bytes() for path in folder.glob("*.tar")} == whole


def test_renders_need_what_dog_paints(tmp_path, config, world):
    chosen = config(training={"objective": "oe", "outliers": "renders"})
    with pytest.raises(DataError, match="no true picture"):
        api.train(chosen, tmp_path / "run")
    assert world[:2] == ["anchors", "generate"], "the words of this fake world have no pictures"


def test_renders_exist_for_shapes_alone(tmp_path, config, world):
    with pytest.raises(UsageError, match="--outliers renders"):
        api.train(config(data={"classes": "cifar10"}, training={"objective": "oe", "outliers": "renders"}), tmp_path / "run")
    assert not world


def test_outliers_are_painted_by_the_strategy_they_are_named_after(tmp_path, config, world):
    chosen = config(synthesis={"strategy": "id-control"}, training={"objective": "oe", "outliers": "dog"})
    api.train(chosen, tmp_path / "run")
    assert {path.name for path in Run(tmp_path / "run").outliers("").iterdir()} == {"dog"}


def test_nothing_but_oal_learns_from_latents(tmp_path, config, world):
    api.generate(config(synthesis={"output_kind": "latent"}), tmp_path / "run")
    assert {path.name for path in Run(tmp_path / "run").outliers("").iterdir()} == {"dog-latent"}
    del world[:]
    chosen = config(training={"objective": "oe", "outliers": "dog-latent"})
    for verb in (api.train, api.evaluate, api.report):
        with pytest.raises(DataError, match="dog-latent holds latents, which only the objective `oal` will learn from"):
            verb(chosen, tmp_path / "run")
    assert world == [], "not even a starting classifier is trained"
    folder = str(Run(tmp_path / "run").outliers("dog-latent"))
    with pytest.raises(DataError, match="only the objective `oal`"):
        api.train(config(training={"objective": "oe", "outliers": folder}), tmp_path / "other")


def test_oal_paints_latents_first_and_keeps_what_h_is_worth(tmp_path, config, said, world):
    chosen = config(training={"objective": "oal"})
    result = api.train(chosen, tmp_path / "run", said.sink)
    assert world == ["anchors", "generate", "train", "train"] and said.holds("no outliers of 'dog-latent' yet")
    assert (result["name"], result["resumed"]) == ("oal", False)
    run = Run(tmp_path / "run")
    assert {path.name for path in run.outliers("").iterdir()} == {"dog-latent"}
    record = json.loads((run.classifier("oal") / "train.json").read_text())
    assert record["latent_r2"] <= 1 and said.holds(f"latent_r2 is {record['latent_r2']:.3f}")
    assert {"oal_kd", "oal_contrast", "oal_temperature", "oal_mi", "outliers", "start"} <= record["identity"].keys()
    del world[:]
    assert api.train(chosen, tmp_path / "run")["resumed"] and world == ["train"]
    named = config(training={"objective": "oal", "outliers": "dog-latent"})
    assert api.train(named, tmp_path / "run")["resumed"], "the same latents under their own name"
    with pytest.raises(RunMismatch, match=r"oal_kd: was 4\.0, now 1\.0"):
        api.train(config(training={"objective": "oal"}, objectives={"oal_kd": 1.0}), tmp_path / "run")


def test_h_is_fitted_on_real_images_where_others_are_painted(tmp_path, config, world):
    api.train(config(synthesis={"m": 8}, training={"objective": "oal", "id_synthetic": 0.25}), tmp_path / "run")
    assert {path.name for path in Run(tmp_path / "run").outliers("").iterdir()} == {"dog-latent", "id-control"}


def test_images_are_refused_for_oal_before_anything_runs(tmp_path, config, world):
    for source in ("noise", "renders"):
        with pytest.raises(DataError, match=rf"--outliers {source} holds images.*--output-kind latent"):
            api.train(config(training={"objective": "oal", "outliers": source}), tmp_path / "run")
    assert world == []


def test_a_run_of_latents_paints_images_for_what_learns_from_images(tmp_path, config, world):
    latents = {"output_kind": "latent", "m": 8}
    api.train(config(synthesis=latents, training={"objective": "oe", "id_synthetic": 0.25}), tmp_path / "run")
    assert {path.name for path in Run(tmp_path / "run").outliers("").iterdir()} == {"dog", "id-control"}


def test_generate_always_asks_for_the_anchors(tmp_path, config, said, world):
    api.generate(config(), tmp_path / "run", said.sink)
    assert said.holds("no anchors yet")
    del said.sentences[:]
    assert api.generate(config(synthesis={"m": 4}), tmp_path / "run", said.sink)["outliers"] == 32
    assert world == ["anchors", "generate"] * 2 and not said.holds("no anchors yet")


# --- refusals before anything is spent --------------------------------------------------------------------------
@pytest.mark.parametrize(
    "verb, sections, error, said",
    [
        (api.generate, {"synthesis": {"recipe": "fast"}}, UsageError, "--recipe 'fast'"),
        (api.generate, {"synthesis": {"output_kind": "latent", "reject_id": True}}, UsageError, "--no-reject-id"),
        (
            api.generate,
            {"synthesis": {"output_kind": "latent"}, "model": {"safety_checker": "own"}},
            UsageError,
            "--safety-checker ''",
        ),
        (api.generate, {"model": {"device": "tpu"}}, EnvironmentFault, "--device 'tpu'"),
        (api.train, {"training": {"objective": "oe", "outliers": "unpainted"}}, DataError, "--outliers 'unpainted'"),
        (api.train, {"training": {"backbone": "resnet50"}}, UsageError, "resnet50"),
        (api.train, {"training": {"backbone": "hf:gone"}, "model": {"offline": True}}, EnvironmentFault, "--backbone hf:gone"),
        (api.train, {"training": {"weights": "gone.safetensors"}}, DataError, r"--weights gone\.safetensors"),
        (api.train, {"training": {"weights": "gone.pth"}}, UsageError, "--allow-pickle"),
        (api.evaluate, {"detection": {"ood": ("lsun",)}}, DataError, "--ood 'lsun'"),
        (api.evaluate, {"training": {"objective": "oe", "outliers": "unpainted"}}, DataError, "--outliers 'unpainted'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_work_is_refused_before_anything_runs(tmp_path, config, world, verb, sections, error, said):
    with pytest.raises(error, match=said):
        verb(config(**sections), tmp_path / "run")
    assert world == []
    assert not (tmp_path / "run").exists(), "a run that holds nothing is not left behind"


def test_a_changed_start_is_refused_in_the_whole_chain(tmp_path, config):
    api.train(config(training={"objective": "ce"}), tmp_path / "run")
    with pytest.raises(RunMismatch, match=r"pretrain_lr: was 0\.1, now 0\.3"):
        api.evaluate(config(training={"objective": "oe", "outliers": "noise", "pretrain_lr": 0.3}), tmp_path / "run")


# --- the API ----------------------------------------------------------------------------------------------------
def test_answers_are_plain_json_and_the_configuration_is_kept(tmp_path, config):
    for verb in (api.generate, api.train, api.evaluate, api.report):
        result = verb(config(), tmp_path / "run")
        assert json.loads(json.dumps(result)) == result
    from dogfast.config.resolve import RunConfig, read_toml

    assert RunConfig().with_values(read_toml(tmp_path / "run" / "run.toml"), "run.toml") == config()


def test_the_default_place_is_named_after_the_classes(tmp_path, config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert api.generate(config())["run"] == "runs/shapes"


def test_a_run_in_use_is_refused_by_name(tmp_path, config):
    from dogfast.run import launch

    with launch(tmp_path / "run", ""), pytest.raises(RunMismatch, match="in use by process"):
        api.generate(config(), tmp_path / "run")


@pytest.mark.parametrize("verb", ["anchors", "generate", "train", "evaluate", "report", "demo"])
def test_every_verb_says_what_it_does(verb):
    assert "returns what the command prints" in getattr(api, verb).__doc__
