"""What people read in a terminal: the table under each protocol, and the lines on what no table shows."""

from dogfast.config.detection import ENERGY_OOD, FULL, OPENOOD
from dogfast.detection.protocols import NOTES
from dogfast.detection.summary import format_control, format_corrupted, format_evaluations, format_table, format_verdicts


# --- the table for people ---------------------------------------------------------------------------------------
def row(score, dataset, fpr95, auroc, n_id=100, n_ood=50):
    return {"score": score, "dataset": dataset, "group": "near", "fpr95": fpr95, "auroc": auroc, "n_id": n_id, "n_ood": n_ood}


def test_the_table_of_two_classifiers():
    before = [row("msp", "a-long-data-set-name", 0.5, 0.75), row("msp", "svhn", 1.0, 0.25)]
    after = [row("energy", "a-long-data-set-name", 0.125, 0.9), row("energy", "svhn", 0.0, 1.0)]
    lines = format_table({"ce": (0.9, before), "dog+renders@1": (0.8912, after)}).splitlines()
    assert lines[0] == NOTES[FULL]
    assert lines[1].split() == ["a-long-data-set-name", "svhn", "mean", "ID"]
    assert lines[2].split() == ["classifier", "score", *["FPR95", "AUROC"] * 3, "acc."]
    assert lines[4].split() == ["ce", "msp", "50.00", "75.00", "100.00", "25.00", "75.00", "50.00", "90.00"]
    assert lines[5].split() == ["dog+renders@1", "energy", "12.50", "90.00", "0.00", "100.00", "6.25", "95.00", "89.12"]
    assert lines[6] == "images: id 100, a-long-data-set-name 50, svhn 50"
    assert len({len(line) for line in lines[1:6]}) == 1, "every line of the table ends in the same column"


def test_a_set_not_measured_leaves_a_gap_and_no_mean():
    rows = {
        "ce": (0.9, [row("msp", "svhn", 0.5, 0.5), row("msp", "dtd", 0.5, 0.5)]),
        "oe": (0.9, [row("msp", "dtd", 0.5, 0.5, n_ood=40)]),
    }
    lines = format_table(rows).splitlines()
    assert lines[5].split() == ["oe", "msp", "–", "–", "50.00", "50.00", "–", "–", "90.00"]
    assert lines[6] == "images: id 100, svhn 50, dtd 40/50"


def test_an_empty_table_still_names_the_convention():
    assert format_table({}).startswith(NOTES[FULL])


# --- other protocols --------------------------------------------------------------------------------------------
def test_the_table_of_a_protocol_shows_its_own_measures_under_its_own_heading():
    rows = [row("msp", "svhn", 0.5, 0.5) | {ENERGY_OOD: {"fpr_nearest": 0.25, "auroc": 0.75, "n_ood": 20}}]
    lines = format_table({"ce": (0.9, rows)}, ENERGY_OOD).splitlines()
    assert lines[0].startswith("energy_ood: FPR~95") and "10 draws" in lines[0]
    assert lines[2].split()[2:4] == ["FPR~95", "AUROC"] and lines[4].split()[2:4] == ["25.00", "75.00"]
    assert lines[5] == "images: id 100, svhn 20 of 50"


def test_openood_has_a_mean_for_each_group():
    values = {"cifar100": ("near", 0.2), "tin": ("near", 0.4), "svhn": ("far", 0.6)}
    rows = [
        row("msp", name, 0, 0) | {"group": group, OPENOOD: {"fpr95": fpr, "auroc": 1 - fpr}}
        for name, (group, fpr) in values.items()
    ]
    lines = format_table({"ce": (0.9, rows)}, OPENOOD).splitlines()
    assert "9000 of CIFAR's" in lines[0]
    assert lines[1].split() == ["cifar100", "tin", "svhn", "near", "far", "ID"]
    assert lines[4].split()[2:] == [
        "20.00",
        "80.00",
        "40.00",
        "60.00",
        "60.00",
        "40.00",
        "30.00",
        "70.00",
        "60.00",
        "40.00",
        "90.00",
    ]


def test_evaluations_under_different_protocols_are_shown_under_the_common_one():
    plain = {"id_accuracy": 0.9, "rows": [row("msp", "svhn", 0.5, 0.5)]}
    other = {**plain, "protocol": {"name": OPENOOD}}
    assert format_evaluations({"ce": plain, "dog": other}).startswith(NOTES[FULL])


# --- lines ------------------------------------------------------------------------------------------------------
def test_the_control_is_one_line_and_nothing_where_it_was_not_measured():
    assert format_control([]) == ""
    line = format_control([{"score": "msp", "called_ood": 0.125, "n": 40}])
    assert "40 painted images" in line and "msp 12.5 %" in line and "\n" not in line


def test_corrupted_images_are_one_line_that_names_the_worst():
    def of(corruption, severity, refused, accuracy):
        return {
            "corruption": corruption,
            "severity": severity,
            "refused": refused,
            "id_accuracy": accuracy,
            "score": "msp",
            "n": 500,
        }

    assert format_corrupted([]) == ""
    line = format_corrupted([of("none", 0.0, 0.05, 0.9), of("jpeg", 80.0, 0.07, 0.85), of("jpeg", 50.0, 0.125, 0.8)])
    assert "of 500 ID images" in line and "msp 5.0 %, corrupted at most 12.5 % (jpeg 50)" in line
    assert "accuracy at least 80.0 % (jpeg 50)" in line and "\n" not in line


def test_verdicts_are_a_table_with_what_was_not_compared():
    change = {"low": -0.2, "high": -0.1, "verdict": "better"}
    found = {
        "against": "ce",
        "rows": [{"score": "msp", "dataset": "svhn", "change": -0.125} | change],
        "means": [{"score": "msp", "datasets": ["svhn"], "change": -0.125} | change],
        "not_compared": ["noise: ce was evaluated on other images"],
    }
    lines = format_verdicts(found).splitlines()
    assert lines[0].startswith("against ce, change of FPR95 in points")
    assert lines[1].split() == ["score", "svhn", "mean"]
    assert lines[3].split() == ["msp", "-12.50", "better", "-12.50", "better"]
    assert lines[4] == "not compared with ce: noise: ce was evaluated on other images"
    assert format_verdicts({}) == ""
    alone = {"against": "ce", "rows": [], "means": [], "not_compared": ["ce is not evaluated in this run"]}
    assert format_verdicts(alone) == "not compared with ce: ce is not evaluated in this run"


def test_all_that_was_found_stands_below_the_table():
    found = {"id_accuracy": 0.9, "rows": [row("msp", "svhn", 0.5, 0.5)]}
    found["artefact_control"] = [{"score": "msp", "called_ood": 0.125, "n": 40}]
    found["verdicts"] = {"against": "ce", "rows": [], "means": [], "not_compared": ["ce is not evaluated in this run"]}
    lines = format_evaluations({"dog": found}).splitlines()
    assert lines[-2].startswith("dog: artefact control, 40") and lines[-1].startswith("dog: not compared with ce")
