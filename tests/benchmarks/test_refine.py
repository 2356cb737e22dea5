"""Which variants the benchmark of rounds compares: as many images and steps in all, selected or dealt evenly."""

import json
from pathlib import Path

import pytest
import refine
import torch
from safetensors.torch import save_file

import dogfast.workflows.refinement.planning as planning
from dogfast.rounds import write_outcome
from dogfast.run import publish, to_json
from dogfast.workflows.refinement.posterior import Tried


@pytest.mark.parametrize("world", [refine.shapes(), refine.photographs(Path("data"))], ids=lambda world: world.name)
def test_every_variant_has_as_many_images_and_epochs_in_all(world):
    for variant in refine.VARIANTS.values():
        config = world.config(3, variant)
        assert config.synthesis.m * variant.rounds == world.outliers
        assert config.training.epochs * variant.rounds == world.epochs
        assert (config.synthesis.seed, config.training.train_seed, config.concepts.concepts_seed) == (3, 3, 3)


def test_dealing_evenly_selects_and_drops_nothing():
    tried = [Tried(0, 0, 4, 4), Tried(1, 0, 2, 0), Tried(2, 0, 3, 0), Tried(5, 1, 1, 1)]
    own = planning.allot
    with refine.dealing_evenly():
        assert planning.allot(tried, {0: 4, 1: 3}, 0) == {1: 2, 2: 1, 0: 1, 5: 3}
        assert planning.why_contaminant(4, 4, 0.0, 1.0) == ""
    assert planning.allot is own


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """One seed in which two rounds are better than one, by their selection."""
    monkeypatch.setattr(refine, "WORK", tmp_path)
    world = refine.shapes()
    shares = dict(zip(refine.VARIANTS, (0.4, 0.1, 0.4, 0.4, 0.5)))
    for name, variant in refine.VARIANTS.items():
        run, config = refine.Run(refine.place_of(world.name, 7, name)), world.config(7, variant)
        folder = run.evaluation(refine.classifier_of(config, variant.rounds))
        (folder / "scores").mkdir(parents=True)
        unknown = torch.where(torch.arange(200) < round(200 * shares[name]), 2.0, -1.0)
        tensors = {"id": torch.linspace(0, 1, 100)} | {each: unknown.clone() for each in world.judged}
        save_file(tensors, folder / "scores" / "msp.safetensors")
        rows = [{"score": "msp", "dataset": each, "fpr95": shares[name], "auroc": 0.9} for each in world.judged]
        control = [{"score": "msp", "called_ood": 0.0}]
        (folder / "metrics.json").write_text(json.dumps({"id_accuracy": 0.9, "rows": rows, "artefact_control": control}))
        fpr = [0.5, 0.5, 0.4][: variant.rounds]
        told = [{"round": n, "fpr95": each, "accuracy": 0.9, "like_id": 0.125 * n} for n, each in enumerate(fpr, 1)]
        publish(run.refined("dog"), to_json({"rounds": told}))
    return world, [7]


def test_rounds_are_compared_with_one_round(measured):
    found = refine.result(*measured)
    verdicts = {name: row["judged"]["msp"].get("verdict") for name, row in found["rows"].items()}
    assert verdicts["two rounds"] == "better" and verdicts["three rounds, dealt evenly"] == "worse"
    evenly = {name: row["judged"]["msp"]["verdict"] for name, row in found["against_evenly"].items()}
    assert evenly == {"two rounds": "better", "three rounds": "better"}
    assert found["painted"] == {name: [0] for name in refine.VARIANTS}


def test_what_foretells_is_a_rank_correlation_with_the_next_round(tmp_path):
    run = refine.Run(tmp_path)
    shares = {
        1: ([0, 1, 2], [2, 1, 0], [2, 1, 0]),
        2: ([1, 1, 1], [8, 6, 4], [10, 7, 4]),
        3: ([0, 0, 0], [1, 2, 3], [11, 9, 7]),
    }
    for number, counted in shares.items():
        named = {"class_name": "ring", "anchor": "oval", "like_id": 0, "distance": 0.5}
        rows = [
            {"condition": 3 * cls + row, "cls": cls, "images": 10 * number, "new": 10, "accepted": a, "fooled": f + cls}
            | {"fooled_in_all": in_all + number * cls}
            | named
            for cls in (0, 1)
            for row, (a, f, in_all) in enumerate(zip(*counted))
        ]
        told = {"round": number, "classifier": "dog", "images": 30, "new": 30, "fooled": 0, "like_id": 0, "accepted": 0}
        told |= {"seconds": 1, "shards": 1, "dropped": [], "bounds": {"ring": 0}, "validation": {"fpr95": 0, "accuracy": 1}}
        write_outcome(run, "dog", number, told | {"conditions": rows})
    assert refine.foretells([run]) == {"accepted": pytest.approx(-0.5), "fooled": pytest.approx(0.0)}
    assert refine.foretells([]) == {"accepted": None, "fooled": None}


def test_the_readme_block_tells_every_variant(measured):
    import readme

    text = readme.refine_block({"shapes": refine.result(*measured) | {"hardware": "a machine", "scores": ["msp"]}})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 7 and "50.0 → 50.0 → 40.0" in lines[4] and "12.5 → 25.0" in lines[3]
    assert "ended 2 of the 2 refinements" in text
    assert text.endswith("**CIFAR-10**\n\nnot run")
