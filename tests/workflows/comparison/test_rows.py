"""The tables' rows: all that the papers print, each trained and judged by what dogfast has."""

import csv

import pytest

from dogfast.config.detection import SCORES
from dogfast.config.synthesis import STRATEGIES
from dogfast.config.training import OBJECTIVES
from dogfast.workflows.comparison.published import FROZEN, printed_sets, published_row
from dogfast.workflows.comparison.rows import AUXILIARY, EVERYWHERE, REJECTION, TABLES, scores_of

ROWS = [(number, row) for number, table in TABLES.items() for row in table.rows]
PRINTED = list(csv.DictReader(FROZEN.read_text().splitlines(), delimiter="\t"))


def test_every_published_row_has_one_of_ours():
    methods = {number: {row.method for row in table.rows} for number, table in TABLES.items()}
    for printed in PRINTED:
        assert printed["method"] in methods[int(printed["table"])], printed


def test_what_is_trained_and_judged_is_known():
    for number, row in ROWS:
        assert row.objective in OBJECTIVES, row
        assert row.score in (*SCORES, REJECTION), row
        assert row.outliers in ("", AUXILIARY, *STRATEGIES), row
        assert not row.against or row.against in {other.method for other in TABLES[number].rows}, row


def test_every_objective_and_every_strategy_has_a_row():
    assert {row.objective for _, row in ROWS} == set(OBJECTIVES)
    assert {row.outliers for _, row in ROWS} >= set(STRATEGIES) - {"id-control"}
    assert {row.score for _, row in ROWS if row.objective == "ce"} == set(SCORES)


def test_every_classifier_is_judged_by_its_paper_and_told_everywhere():
    assert scores_of("ce", SCORES) == SCORES
    assert set(scores_of("npos", SCORES)) == {*EVERYWHERE, "knn"}
    assert set(scores_of("doe", SCORES)) == {*EVERYWHERE, "maxlogit"}
    assert set(scores_of("atom", SCORES)) == set(EVERYWHERE), "its rejection comes unasked"
    assert scores_of("npos", ("energy", "knn")) == ("energy", "knn")
    assert scores_of("oe", ("knn",)) == ("knn",), "an evaluation needs some score"


def test_five_averages_are_misprinted_and_both_figures_are_kept():
    found = {}
    for table, classes, method in {(int(row["table"]), row["id"], row["method"]) for row in PRINTED}:
        row = published_row(table, classes, method)
        if row.misprinted:
            found[classes, method] = tuple(round(value, 2) for value in (*row.printed, *row.average))
    assert found == {
        ("cifar100", "Mahalanobis"): (72.37, 82.7, 62.17, 82.7),
        ("cifar100", "CSI"): (61.12, 95.05, 61.12, 85.05),
        ("cifar100", "VOS"): (73.8, 91.67, 73.8, 81.68),
        ("imagenet", "ASH"): (50.68, 85.35, 50.69, 84.95),
        ("imagenet", "OE"): (52.6, 83.81, 47.93, 83.81),
    }


@pytest.mark.parametrize("table", [1, 3])
def test_tables_1_and_3_are_one_table_of_different_classes(table):
    assert published_row(table, "imagenet", "DOG").sets["sun"] == (39.11, 89.67)
    assert published_row(table, "cifar100", "DOG").average == (22.87, 95.41)
    assert published_row(table, "shapes", "DOG") is None
    assert printed_sets("imagenet") == ("textures", "places365", "inaturalist", "sun") and printed_sets("shapes") == ()


def test_what_prints_averages_alone_has_these():
    row = published_row(2, "cifar10", "(e) Textual Near-OOD")
    assert (row.sets, row.average, row.misprinted) == ({}, (17.3, 96.48), False)
