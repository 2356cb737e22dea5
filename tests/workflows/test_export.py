"""Exported detectors: whole, the same as the run's, and an ONNX graph that says what torch says."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import dogfast
import dogfast.workflows.detector_graph as detector_graph
from dogfast.classifiers.backbones import build
from dogfast.classifiers.evidence import collect_evidence
from dogfast.classifiers.huggingface import from_architecture
from dogfast.classifiers.loading import extend
from dogfast.config.detection import DetectionConfig
from dogfast.data.codec import Lossless
from dogfast.data.resize import WHOLE
from dogfast.detection.detector import Detector
from dogfast.detection.fitting import fit_scores
from dogfast.detection.inputs import Preparation
from dogfast.detection.scores import bound_scores
from dogfast.errors import DataError, EnvironmentFault, UsageError
from dogfast.events import Events
from dogfast.run import Run, launch
from dogfast.workflows.detector_graph import differences, example_images, write_detector_graph
from dogfast.workflows.export import Request, plan_export, run_export
from tests.detection.made_run import SIDE, make_config, make_run

CLASSES = ["a", "b", "c"]
VIT = {
    **{"model_type": "vit", "image_size": SIDE, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "intermediate_size": 32},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that tests share; its detectors are kept in it."""
    return make_run(tmp_path_factory.mktemp("export") / "run")


def export(run, folder, **wanted):
    return run_export(make_config(), run, Events(), Request(folder=folder, **wanted))


def images(count, seed=0):
    return torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def network(kind):
    torch.manual_seed(0)
    if kind == "vit":
        model = from_architecture(VIT, len(CLASSES), [0.5] * 3, [0.2] * 3)
    else:
        backbone = {"resnet": "resnet-18"}.get(kind, "wrn-10-1")
        model = extend(build(backbone, CLASSES, [0.5] * 3, [0.2] * 3, 0.0, SIDE), rejection=True, rotations=kind == "turned")
    nn.init.normal_(model.head.weight)
    return model.eval()


def detector_of(kind, score, **settings):
    model, known = network(kind), images(60)
    evidence = collect_evidence(model, known, 60, "cpu", "fp32")
    fitted = () if score == "rejection" else (score,)
    states, _ = fit_scores(fitted, (evidence, torch.arange(60) % 3), None, DetectionConfig(**settings))
    scores = bound_scores((score,), states)[score](evidence)
    preparation = Preparation(SIDE, WHOLE, Lossless())
    return Detector("x", model, {"class_names": CLASSES}, score, states.get(score, {}), scores, preparation)


# --- a folder ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("score", ["energy", "knn"])
def test_an_exported_detector_is_the_runs(made, tmp_path, score):
    result = export(made, tmp_path / "out", score=score, recall=0.9)
    exported, own = Detector.load(tmp_path / "out"), replace(Detector.load(made.root, "ce", score), recall=0.9)
    ours, theirs = exported(images(11)), own(images(11))
    assert torch.equal(ours.score, theirs.score) and torch.equal(ours.known, theirs.known)
    assert torch.equal(ours.probabilities, theirs.probabilities) and ours.class_names == theirs.class_names
    assert exported.threshold == own.threshold == result["threshold"] and exported.preparation == own.preparation
    assert result["output"] == str(tmp_path / "out") and result["name"] == "ce" and "parity" not in result


def test_it_needs_nothing_of_the_run_and_names_no_place(made, tmp_path):
    export(made, tmp_path / "out", score="msp")
    record = json.loads((tmp_path / "out" / "detector.json").read_text())
    assert record["image_px"] == SIDE and record["input"]["range"] == [0, 1] and record["codec"] == {"kind": "sensor"}
    assert record["score"] == "msp" and record["recall"] == 0.95 and record["validation_images"] == 12
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*.json"))
    assert str(made.root).encode() not in everything and str(tmp_path).encode() not in everything


def test_it_lies_in_the_run_unless_told_otherwise(tmp_path):
    run = make_run(tmp_path / "run")
    result = run_export(make_config(), run, Events(), Request(score="energy"))
    assert result["output"] == str(run.root / "export" / "ce-energy") and Detector.load(result["output"]).score == "energy"


def test_a_former_export_is_replaced_and_nothing_else_is(made, tmp_path):
    export(made, tmp_path / "out", score="energy")
    export(made, tmp_path / "out", score="msp")
    assert Detector.load(tmp_path / "out").score == "msp"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    export(made, tmp_path / "more", score="msp")
    (tmp_path / "more" / "notes.txt").write_text("of the user")
    for name in ("mine", "file", "link", "more"):
        with pytest.raises(UsageError, match="holds something else"):
            export(made, tmp_path / name, score="msp")
        with pytest.raises(UsageError, match="holds something else"):
            plan_export(make_config(), made, Events(), Request(folder=tmp_path / name))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_an_export_that_fails_leaves_the_former_one(made, tmp_path, monkeypatch):
    export(made, tmp_path / "out", score="energy")
    Detector.load(made.root, "ce", "msp")  # is kept from now on

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dogfast.detection.folder.publish", full)
    with pytest.raises(EnvironmentFault, match="No space left on device; free space"):
        export(made, tmp_path / "out", score="msp")
    monkeypatch.undo()
    assert Detector.load(tmp_path / "out").score == "energy" and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_another_score_than_the_exported_one_is_refused(made, tmp_path):
    export(made, tmp_path / "out", score="msp")
    with pytest.raises(UsageError, match="was exported with msp; leave --score out"):
        Detector.load(tmp_path / "out", score="energy")


def test_a_classifier_that_is_missing_is_trained_first(config, said, tmp_path, world):
    settings = config(training={"objective": "ce"})
    with launch(tmp_path / "run", settings.to_toml()) as run:
        assert plan_export(settings, run, Events(), Request())["trained"] is False
        run_export(settings, run, Events(said.sink), Request(score="energy"))
    assert world == ["train"] and said.holds("no classifier 'ce' yet: training it first")
    assert Detector.load(Run(tmp_path / "run").root / "export" / "ce-energy").name == "ce"


def test_it_is_a_verb_of_the_python_api(tmp_path):
    run = make_run(tmp_path / "run")
    result = dogfast.export(make_config(), run.root, score="energy", folder=tmp_path / "out")
    assert result["threshold"] == dogfast.Detector.load(tmp_path / "out").threshold


@pytest.mark.parametrize("recall", [0, -1, 1.01, float("nan")])
def test_a_recall_is_a_share(recall):
    with pytest.raises(UsageError, match="--recall"):
        Request(recall=recall)


# --- a graph ----------------------------------------------------------------------------------------------------
def test_the_graph_says_what_the_detector_says_of_any_number_of_images(made, tmp_path):
    result = export(made, tmp_path / "out", score="ash-s", format="onnx")
    assert result["parity"]["verdict"] == "ok" and result["parity"]["score"] < 1e-3
    assert {"model.onnx", "state.safetensors"} < result["files"].keys() and "model.onnx.data" not in result["files"]
    detector = Detector.load(tmp_path / "out")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    for count in (1, 7):
        pixels = images(count, seed=count)
        logits, score, known = session.run(None, {"images": pixels.numpy().astype(np.float32) / 255})
        found = detector(pixels)
        assert np.allclose(score, found.score, rtol=1e-4) and known.tolist() == found.known.tolist()
        assert logits.argmax(1).tolist() == found.probabilities.argmax(1).tolist()
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["class_names"]) == list(detector.class_names) and facts["score"] == "ash-s"
    assert float(facts["threshold"]) == detector.threshold and "16 px" in facts["preparation"]


@pytest.mark.slow
def test_large_weights_lie_in_a_file_beside_the_graph(tmp_path, monkeypatch):
    monkeypatch.setattr(detector_graph, "LARGEST_IN_ONE_FILE", 1000)
    assert write_detector_graph(detector_of("wrn", "msp"), tmp_path)["verdict"] == "ok"
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}


@pytest.mark.slow
@pytest.mark.parametrize("score", ["ash-b", "scale", "react", "mahalanobis", "knn", "vim", "rejection"])
def test_scores_are_in_graphs_as_they_are(score, tmp_path):
    """The others are made of the same operators."""
    detector = detector_of("wrn", score)
    assert write_detector_graph(detector, tmp_path)["verdict"] == "ok"
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    pixels = images(9, seed=1)
    _, found, known = session.run(None, {"images": pixels.numpy().astype(np.float32) / 255})
    expected = detector(pixels)
    assert np.allclose(found, expected.score, rtol=1e-4, atol=1e-5) and known.tolist() == expected.known.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["turned", "resnet", "vit"])
def test_every_kind_of_classifier_has_a_graph(kind, tmp_path):
    assert write_detector_graph(detector_of(kind, "energy"), tmp_path)["verdict"] == "ok"


def test_what_no_graph_can_hold_is_refused_naming_what_can_be(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match=r"--score odin cannot be put into a graph .*choose of msp, maxlogit, energy, ash-s"):
        Request(score="odin", format="onnx")
    assert Request(score="odin").score == "odin"
    monkeypatch.setattr("dogfast.detection.graph.LARGEST_STATE_BYTES", 1000)
    with pytest.raises(UsageError, match=r"--score knn cannot be put into a graph .*--knn-share makes a smaller bank"):
        write_detector_graph(detector_of("wrn", "knn"), tmp_path)


def test_without_onnxruntime_the_verdict_is_not_run(made, tmp_path, monkeypatch, said):
    monkeypatch.setattr(detector_graph, "why_not", lambda backend: "is not installed")
    monkeypatch.setattr(detector_graph, "open_engine", lambda *given: pytest.fail("it was opened"))
    monkeypatch.setattr(detector_graph, "write_graph", lambda *given, external: None)
    monkeypatch.setattr(detector_graph, "check_form", lambda *given: None)
    result = run_export(make_config(), made, Events(said.sink), Request(folder=tmp_path / "out", format="onnx"))
    assert result["parity"] == {"verdict": "not run"} and said.holds("not run")
    assert json.loads((tmp_path / "out" / "detector.json").read_text())["parity"] == {"verdict": "not run"}


def test_a_graph_that_says_something_else_is_refused_and_nothing_is_left(made, tmp_path, monkeypatch):
    monkeypatch.setattr(detector_graph, "write_graph", lambda *given, external: None)
    monkeypatch.setattr(detector_graph, "check_form", lambda *given: None)
    other = detector_of("wrn", "energy")

    def opened(*given):
        return lambda pixels: (pixels.flatten(1)[:, :8], other(images(len(pixels))).score, torch.ones(len(pixels)) > 0)

    monkeypatch.setattr(detector_graph, "open_engine", opened)
    with pytest.raises(EnvironmentFault, match="the graph of ce by msp is refused"):
        export(made, tmp_path / "out", format="onnx")
    assert not list(tmp_path.iterdir())


def test_differences_are_seen_in_each_output():
    logits, score = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([5.0, float("-inf")])
    known = torch.tensor([True, False])
    same = (logits, score, known)
    assert differences(same, same, 2.0) == {"logits": 0.0, "score": 0.0}
    assert differences((logits + 0.5, score, known), same, 2.0)["logits"] == pytest.approx(0.5 * 2**0.5)
    assert differences((logits, score * 1.1, known), same, 2.0)["score"] == pytest.approx(0.1)
    assert differences((logits, score, ~known), same, 2.0)["score"] == float("inf")
    assert not differences((logits, score * float("nan"), known), same, 2.0)["score"] <= 1e9


def test_example_images_are_the_same_everywhere_and_in_range():
    first, second = example_images(SIDE), example_images(SIDE)
    assert torch.equal(first, second) and first.min() == 0 and first.max() == 1 and len(first) > 5
    assert len(torch.unique(first.flatten(1), dim=0)) == len(first)


def test_a_damaged_run_is_no_detector(tmp_path):
    run = make_run(tmp_path / "run")
    (run.classifier("ce") / "model.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        export(run, tmp_path / "out")
