"""Which rows the benchmark of few latents trains, on which outliers, and what it compares with what."""

import json

import oal_few
import pytest
import torch
from safetensors.torch import save_file
from tuning import few

from dogfast.errors import DataError
from dogfast.training.batches import Held
from dogfast.training.regimes import regime_of


def test_every_number_of_latents_has_as_many_images_beside_it():
    found = oal_few.rows()
    assert list(found)[:2] == ["dog 100", "oal 100"] and len(found) == 6
    steps = {
        (regime.epochs, regime.batch, regime.ood_batch)
        for regime in (
            regime_of(config.training, config.objectives, "shapes")
            for config in (oal_few.settings(0, objective) for objective in ("dog", "oal"))
        )
    }
    assert len(steps) == 1


def test_few_are_the_first_with_all_that_stands_beside_them():
    held = Held(torch.arange(9), 3, "x", id_latents=torch.zeros(4))
    found = few(held, 5)
    assert found.rows.tolist() == [0, 1, 2, 3, 4] and found.seed == (3, "x") and found.id_latents is held.id_latents
    with pytest.raises(DataError, match="only 9 of 10"):
        few(held, 10)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """One seed in which `oal` accepts fewer outliers than `dog` at 100, and more at 300."""
    monkeypatch.setattr(oal_few, "WORK", tmp_path)
    monkeypatch.setattr(oal_few, "COUNTS", (100, 300))
    shares = {"ce": 0.5, "dog 100": 0.4, "oal 100": 0.1, "dog 300": 0.1, "oal 300": 0.4}
    for name, share in shares.items():
        folder = oal_few.folder_of(7, name)
        (folder / "scores").mkdir(parents=True)
        unknown = torch.where(torch.arange(200) < round(200 * share), 2.0, -1.0)
        tensors = {"id": torch.linspace(0, 1, 100)} | {each: unknown.clone() for each in oal_few.JUDGED}
        save_file(tensors, folder / "scores" / "msp.safetensors")
        rows = [{"score": "msp", "dataset": each, "fpr95": share, "auroc": 1 - share} for each in oal_few.JUDGED]
        control = [{"score": "msp", "called_ood": 0.0}]
        (folder / "metrics.json").write_text(json.dumps({"id_accuracy": 0.9, "rows": rows, "artefact_control": control}))
    (tmp_path / "seed-7" / "worth.json").write_text(json.dumps({"id": 0.7, "outliers": -0.1}))
    return [7]


def test_oal_is_compared_with_dog_at_every_number(measured):
    found = oal_few.result(measured)
    verdicts = {count: of_count["msp"]["verdict"] for count, of_count in found["oal_against_dog"].items()}
    assert verdicts == {"100": "better", "300": "worse"}
    assert found["oal_against_dog"]["100"]["msp"]["change"] == pytest.approx(-30)
    assert found["rows"]["oal 300"]["judged"]["msp"]["change"] == pytest.approx(-10)
    assert found["h_explains"] == [{"id": 0.7, "outliers": -0.1}] and json.dumps(found)


def test_the_readme_block_names_every_number(measured):
    import readme

    text = readme.oal_few_block(oal_few.result(measured) | {"hardware": "a machine", "scores": ["msp"]})
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5 and lines[2].startswith("| none (`ce`) |") and lines[3].startswith("| 100 |")
    assert "better" in lines[3] and "worse" in lines[4] and "0.70" in text and "-0.10" in text
