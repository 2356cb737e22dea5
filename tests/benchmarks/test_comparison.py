"""Rows of a benchmark over seeds: means, baselines, directions and shares, on rows made by hand."""

import json

import comparison
import pytest
import torch
from safetensors.torch import save_file

SETS = ("near", "far")


@pytest.fixture
def row(tmp_path):
    """Writes a row: by seed the share of OOD images of both sets that score above every ID image."""

    def write(name, *shares):
        folders = []
        for seed, share in enumerate(shares):
            folder = tmp_path / name / str(seed)
            (folder / "scores").mkdir(parents=True)
            known = torch.linspace(0, 1, 100)
            unknown = torch.where(torch.arange(200) < round(200 * share), 2.0, -1.0)
            save_file({"id": known, **{each: unknown.clone() for each in SETS}}, folder / "scores" / "msp.safetensors")
            found = {
                "id_accuracy": 0.9,
                "rows": [{"score": "msp", "dataset": each, "fpr95": share, "auroc": 1 - share} for each in SETS],
                "artefact_control": [{"score": "msp", "called_ood": 0.04}],
            }
            (folder / "metrics.json").write_text(json.dumps(found))
            folders.append(folder)
        return folders

    return write


def test_rows_are_compared_with_the_better_baseline(row):
    folders = {"ce": row("ce", 0.4, 0.5), "ce+steps": row("steps", 0.3, 0.5), "dog": row("dog", 0.1, 0.2)}
    found = comparison.compare(folders, ("ce", "ce+steps"), ("near",))
    judged = found["dog"]["judged"]["msp"]
    assert (
        judged["baseline"] == "ce+steps"
        and judged["by_seed"] == pytest.approx([10, 20])
        and judged["auroc"] == pytest.approx(85)
    )
    assert judged["change"] == pytest.approx(-25) and judged["relative_change"] == pytest.approx(-0.625)
    assert judged["interval"][0] < -25 < judged["interval"][1] < 0
    assert judged["verdict"] == "better"
    assert found["ce"]["judged"]["msp"]["verdict"] != "better"
    assert found["dog"]["id_accuracy"] == pytest.approx(90) and found["dog"]["artefact_control"] == {"msp": pytest.approx(4)}
    assert "share_of_reference" not in judged


def test_seeds_that_disagree_leave_it_undecided(row):
    folders = {"ce": row("ce", 0.5, 0.1), "dog": row("dog", 0.1, 0.15)}
    judged = comparison.compare(folders, ("ce",), SETS)["dog"]["judged"]["msp"]
    assert judged["interval"][1] < 0, "the images alone would decide it"
    assert judged["verdict"] == "undecided"


def test_shares_of_the_gain_of_a_reference(row):
    folders = {"ce": row("ce", 0.5), "dog": row("dog", 0.3), "renders": row("renders", 0.1)}
    found = comparison.compare(folders, ("ce",), SETS, "renders")
    shares = {name: found[name]["judged"]["msp"]["share_of_reference"] for name in folders}
    assert shares == {"ce": None, "dog": pytest.approx(0.5), "renders": pytest.approx(1)}


def test_a_reference_without_gain_has_no_shares(row):
    folders = {"ce": row("ce", 0.1), "dog": row("dog", 0.3), "renders": row("renders", 0.2)}
    found = comparison.compare(folders, ("ce",), SETS, "renders")
    assert {found[name]["judged"]["msp"]["share_of_reference"] for name in folders} == {None}
