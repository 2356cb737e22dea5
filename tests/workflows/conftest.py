"""Workflows on tiny settings: a fake generator, anchors from a list, a few shapes, one epoch."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

import dogfast.data.catalogue as catalogue
import dogfast.workflows.chain as chain
import dogfast.workflows.demo as demo
import dogfast.workflows.plans as plans
import dogfast.workflows.refine as refine
from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.run import write_jsonl

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "synthesis" / "fakes.py")))

SETTINGS = {
    "data": {"id_images": 48, "image_px": 16},
    "model": {"model": "fake", "device": "cpu", "precision": "fp32"},
    "synthesis": {"m": 3, "steps": 2, "samples_per_shard": 8, "rows": 8},
    "training": {
        **{"backbone": "wrn-10-1", "dropout": 0.0, "pretrain_epochs": 1, "epochs": 1, "batch": 16, "ood_batch": 8},
        "train_precision": "fp32",
    },
    "detection": {"ood": ("held-out-shapes", "gaussian"), "ood_images": 10},
}


@pytest.fixture
def config():
    """Tiny settings, with fields of a section replaced."""

    def make(**sections):
        return RunConfig().with_values(SETTINGS, "test").with_values(sections, "test")

    return make


@pytest.fixture
def said():
    """A sink, and the sentences it heard."""
    sentences = []

    def sink(event, fields):
        if event == "note":
            sentences.append(fields["text"])

    return SimpleNamespace(sink=sink, sentences=sentences, holds=lambda part: any(part in text for text in sentences))


@pytest.fixture(autouse=True)
def world(monkeypatch):
    """The fake generator in every place; what ran is listed by stage."""
    ran = []

    def anchors(config, run, events):
        ran.append("anchors")
        if not run.conditions.exists():
            rows = [
                {"cls": y, "class_name": name, "strategy": strategy, "anchor": word, "text": [[f"a photo of a {word}", 1.0]]}
                for y, name in enumerate(shapes.ID_WORDS)
                for strategy, word in (("dog", f"{name} with holes"), ("dog", f"bent {name}"), ("id-control", name))
            ]
            write_jsonl(run.conditions, rows)
        return {"run": str(run.root), "anchors": 2 * len(shapes.ID_WORDS), "resumed": run.anchors.exists()}

    def noting(name, plain):
        def stage(*given):
            ran.append(name)
            return plain(*given)

        return stage

    monkeypatch.setattr(catalogue, "SHAPES_TEST_IMAGES", 16)
    for workflow in (chain, demo, refine):
        monkeypatch.setattr(workflow, "find_anchors", anchors)
    monkeypatch.setattr(plans, "Pipeline", fakes.FakePipeline)
    for name in ("generate", "train", "evaluate"):
        monkeypatch.setattr(chain, name, noting(name, getattr(chain, name)))
    with fakes.installed():
        yield ran
