"""A table's content: means, spreads, verdicts, what did not run, what was published; from made-up evaluations."""

import json
from statistics import mean, stdev

import pytest

from dogfast.errors import DataError
from dogfast.run import to_json
from dogfast.workflows.comparison.measured import figures, verdict
from dogfast.workflows.comparison.rows import TABLES
from dogfast.workflows.comparison.tables import Outcome, build_table

SETS = ["held-out-shapes", "glyphs"]


@pytest.fixture(scope="module")
def outcomes(evaluated):
    """Of Table 4 in two seeds: OE is no better than `ce`, OE + DOG is; Energy-OE failed, POEM had no images."""

    def two(name, apart):
        return {seed: evaluated(f"{name}@{seed}" if seed else name, apart + seed / 100, seed) for seed in (0, 1)}

    made = {
        "OE": Outcome("oe+renders", "renders", two("oe+renders", 1.0)),
        "OE + DOG": Outcome("oe", "dog", two("oe", 4.0)),
        "Energy-OE": Outcome("energy-oe+renders", "renders", {}, {0: "no memory", 1: "no memory"}),
        "Energy-OE + DOG": Outcome("energy-oe", "dog", {1: evaluated("energy-oe@1", 4.0, 1)}, {0: "broken | shard"}),
        "POEM": Outcome(not_run="there are no auxiliary images"),
        "POEM + DOG": Outcome("poem", "dog", two("poem", 2.0)),
    }
    return {row: made[row.method] for row in TABLES[4].rows}, two("ce", 1.0)


@pytest.fixture(scope="module")
def table(outcomes):
    return build_table(4, "shapes", *outcomes)


def row_of(table, method):
    return next(row for row in table["rows"] if row["method"] == method)


def test_figures_are_means_and_spreads_of_the_evaluations(table, outcomes):
    evaluations = next(outcome for row, outcome in outcomes[0].items() if row.method == "OE + DOG").seeds
    found = row_of(table, "OE + DOG")["figures"]["msp"]
    for dataset in SETS:
        values = [100 * evaluation.result("msp", dataset).fpr95 for evaluation in evaluations.values()]
        assert found["sets"][dataset]["fpr95"] == {"mean": mean(values), "std": stdev(values), "by_seed": values}
    averages = [mean(100 * evaluation.result("msp", d).auroc for d in SETS) for evaluation in evaluations.values()]
    assert found["average"]["auroc"]["by_seed"] == pytest.approx(averages)
    assert row_of(table, "OE + DOG")["id_accuracy"]["mean"] == pytest.approx(90)
    assert (table["seeds"], table["sets"], table["n_id"]) == ([0, 1], SETS, [200])
    assert table["n_ood"] == {"held-out-shapes": [80], "glyphs": [60]}


def test_the_artefact_control_is_told_where_every_seed_has_it(evaluated):
    whole = {seed: evaluated("oe", 3.0, seed, called_ood=share) for seed, share in enumerate((0.02, 0.06))}
    lacking = {0: whole[0], 1: evaluated("oe", 3.0, 1)}
    made = {"OE": Outcome("oe+renders", "renders", lacking), "OE + DOG": Outcome("oe", "dog", whole)}
    outcomes = {row: made.get(row.method, Outcome(not_run="no")) for row in TABLES[4].rows}
    table = build_table(4, "shapes", outcomes, whole)
    assert row_of(table, "OE + DOG")["artefact_control"]["msp"]["by_seed"] == pytest.approx([2, 6])
    assert row_of(table, "OE")["artefact_control"] == {}


def test_one_seed_has_no_deviation(evaluated):
    found = figures({3: evaluated("ce", 1.0)}, "energy", SETS)
    assert found["average"]["fpr95"]["std"] is None and len(found["average"]["fpr95"]["by_seed"]) == 1


def test_every_row_is_told_under_msp_energy_and_ash(table):
    for method in ("OE", "OE + DOG", "POEM + DOG"):
        assert list(row_of(table, method)["figures"]) == ["msp", "energy", "ash-s"]


def test_verdicts_are_against_ce_and_against_the_same_method_without_dog(table):
    better = row_of(table, "OE + DOG")["against"]
    assert better["ce"]["verdict"] == better["OE"]["verdict"] == "better" and better["OE"]["change"] < -20
    low, high = better["OE"]["interval"]
    assert low <= better["OE"]["change"] <= high < 0
    assert better["OE"]["sets"].keys() == set(SETS)
    assert row_of(table, "OE")["against"].keys() == {"ce"}
    assert row_of(table, "POEM + DOG")["against"].keys() == {"ce"}, "there is no POEM to compare it with"


def test_seeds_that_disagree_decide_nothing(evaluated):
    base = {seed: evaluated("ce", 2.0, seed) for seed in (0, 1)}
    other = {0: evaluated("oe", 6.0, 0), 1: evaluated("oe", 1.9, 1)}
    found = verdict(base, "msp", other, "msp", SETS)
    assert found["interval"][1] < 0 and found["verdict"] == "undecided"
    assert verdict({0: base[0]}, "msp", {0: other[0]}, "msp", SETS)["verdict"] == "better"


def test_the_baseline_under_another_score_is_compared_with_its_msp(evaluated):
    seeds = {0: evaluated("ce", 1.0, scores=("msp", "energy", "ash-s", "knn"))}
    rows = {row: Outcome("ce", seeds=seeds) if row.objective == "ce" else Outcome(not_run="no") for row in TABLES[1].rows}
    table = build_table(1, "shapes", rows, seeds)
    assert row_of(table, "MSP")["against"] == {}
    assert row_of(table, "KNN")["against"]["ce"]["score"] == "msp"
    assert row_of(table, "Mahalanobis")["status"] == "not run: --scores leaves out mahalanobis"


def test_a_trained_row_is_compared_with_the_baseline_under_its_own_score(evaluated):
    baseline = {0: evaluated("ce", 1.0)}
    made = {
        "DOG": Outcome("dog", "dog", {0: evaluated("dog", 3.0)}),
        "ATOM": Outcome("atom+renders", "renders", {0: evaluated("atom+renders", 3.0, scores=("msp", "rejection"))}),
    }
    rows = {row: made.get(row.method, Outcome(not_run="no")) for row in TABLES[1].rows}
    table = build_table(1, "shapes", rows, baseline)
    assert row_of(table, "DOG")["against"]["ce"]["score"] == "ash-s"
    assert row_of(table, "ATOM")["against"]["ce"]["score"] == "msp", "`ce` has no class of rejection"
    assert list(row_of(table, "ATOM")["figures"]) == ["msp", "rejection"]


def test_what_did_not_run_and_what_failed_say_so(table):
    assert row_of(table, "POEM")["status"] == "not run: there are no auxiliary images"
    assert row_of(table, "Energy-OE")["status"] == "failed: no memory"
    in_part = row_of(table, "Energy-OE + DOG")
    assert (in_part["status"], in_part["seeds"], in_part["failed"]) == ("ok", [1], {0: "broken | shard"})
    assert in_part["against"].keys() == {"ce"} and "figures" not in row_of(table, "POEM")


def test_published_figures_stand_beside_those_of_their_data_set_alone(outcomes):
    assert all(row["published"] is None for row in build_table(4, "shapes", *outcomes)["rows"])
    printed = row_of(build_table(4, "cifar100", *outcomes), "OE + DOG")["published"]
    assert printed["sets"]["isun"] == (5.39, 98.58) and printed["average"] == (35.39, 91.35)
    assert all(row["published"] is None for row in build_table(4, "imagenet-100", *outcomes)["rows"])


def test_a_table_is_plain_json(table):
    parsed = json.loads(to_json(table))
    assert [row["method"] for row in parsed["rows"]] == [row.method for row in TABLES[4].rows]


def test_scores_of_other_images_are_refused(evaluated):
    base, other = evaluated("ce", 1.0), evaluated("oe", 1.0, n_ood={"held-out-shapes": 81, "glyphs": 60})
    with pytest.raises(DataError, match="other images of 'held-out-shapes'"):
        verdict({0: base}, "msp", {0: other}, "msp", SETS)
    with pytest.raises(DataError, match="no scores of 'moon'"):
        verdict({0: base}, "msp", {0: base}, "msp", ["moon"])
