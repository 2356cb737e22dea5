"""The table as OpenOOD's evaluator writes it."""

import csv

import pytest

from dogfast.detection.openood import format_table, save_tables
from dogfast.detection.protocols import openood


def row(dataset, group, fpr95, auroc=0.9, score="msp"):
    measured = {"fpr95": fpr95, "auroc": auroc, "aupr_in": 0.8, "aupr_out": 0.70004}
    return {"score": score, "dataset": dataset, "group": group, "fpr95": 0.99, "fpr95_ood": fpr95, "openood": measured}


def test_near_and_far_sets_with_their_means_in_percent_with_two_decimals():
    rows = [row("svhn", "far", 0.2), row("cifar100", "near", 0.5, 0.8), row("tin", "near", 0.25), row("mnist", "far", 0.1)]
    assert format_table(rows, 0.95123).splitlines() == [
        "dataset,FPR@95,AUROC,AUPR_IN,AUPR_OUT,ACC",
        "cifar100,50.00,80.00,80.00,70.00,95.12",
        "tin,25.00,90.00,80.00,70.00,95.12",
        "nearood,37.50,85.00,80.00,70.00,95.12",
        "svhn,20.00,90.00,80.00,70.00,95.12",
        "mnist,10.00,90.00,80.00,70.00,95.12",
        "farood,15.00,90.00,80.00,70.00,95.12",
    ]


def test_a_group_without_sets_has_no_mean():
    assert "nearood" not in format_table([row("svhn", "far", 0.2)], 1.0)


def test_ood_is_the_positive_class():
    """Of 20 OOD images the worst is the only one above most ID ones: caught at 95 % but for it."""
    known, unknown = [float(n) for n in range(100)], [-1.0] * 19 + [1000.0]
    measured = openood(known, unknown, 0)
    table = format_table([row("x", "far", 0.0) | {"openood": measured}], 1.0)
    assert list(csv.reader(table.splitlines()))[1][1] == "0.00"


def test_names_with_commas_stay_one_field():
    assert list(csv.reader(format_table([row('a, "b"', "far", 0.1)], 1.0).splitlines()))[1][0] == 'a, "b"'


def test_a_file_for_every_score(tmp_path):
    save_tables(tmp_path, [row("x", "far", 0.1), row("x", "far", 0.2, score="ash-s")], 1.0)
    assert sorted(path.name for path in (tmp_path / "openood").iterdir()) == ["ash-s.csv", "msp.csv"]
    assert "20.00" in (tmp_path / "openood" / "ash-s.csv").read_text()


@pytest.mark.parametrize("measure", ["fpr95", "auroc", "aupr_in", "aupr_out"])
def test_every_column_is_a_measure_of_the_protocol(measure):
    assert measure in openood([1.0, 2.0], [0.0, 3.0], 0)
