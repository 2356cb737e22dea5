"""The table, the verdict, the costs, the histograms and the distance lines: what is computed from the numbers."""

import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dogfast.errors import DataError
from dogfast.reporting.costs import build_costs
from dogfast.reporting.distances import LETTER_PX, NARROW_PX, WIDE_PX, Word, _labelled, build_lines
from dogfast.reporting.histograms import _log_odds, _steps, build_charts, shares_by_bin
from dogfast.reporting.inputs import read_evaluations
from dogfast.reporting.pair import pair_of
from dogfast.reporting.shifts import build_shifts
from dogfast.reporting.table import build_table
from dogfast.reporting.verdict import Verdict, judge
from dogfast.run import publish
from tests.reporting.made_up_run import CLASSES, add_anchors, add_evaluation, add_verdicts, change_metrics, read_rows


# --- table ------------------------------------------------------------------------------------------------------
def test_table_values(full_run):
    table = build_table(read_evaluations(full_run))
    assert [(h.dataset, h.group, h.n) for h in table.headings] == [("near", "near", "300"), ("noise", "far", "200")]
    assert table.n_id == "400" and [block.label for block in table.blocks] == ["MSP", "Energy", "ASH-S"]
    block = table.blocks[0]
    assert [row.name for row in block.rows] == ["ce", "oe+noise", "dog"]
    texts = [[(cell.text, cell.delta, cell.worse, cell.best) for cell in row.cells] for row in block.rows]
    assert texts[0] == [
        *(("95.0", "", False, True), ("40.0", "", False, False), ("90.0", "", False, False)),
        *(("20.0", "", False, False), ("96.0", "", False, False), ("30.0", "", False, False), ("93.0", "", False, False)),
    ]
    assert texts[2] == [
        *(("94.0", "−1.0", True, False), ("22.0", "−18.0", False, True), ("95.0", "+5.0", False, True)),
        *(("30.0", "+10.0", True, False), ("90.0", "−6.0", True, False), ("26.0", "−4.0", False, False)),
        ("92.5", "−0.5", True, False),
    ]
    assert texts[1][3] == ("2.0", "−18.0", False, True), "the best is marked per column"
    assert texts[1][0] == ("95.0", "±0.0", False, True), "equals are marked alike"
    assert [cell.verdict for cell in block.rows[2].cells] == ["", "better", "", "worse", "", "better", ""]
    assert not any(cell.verdict for row in block.rows[:2] for cell in row.cells)


def test_order_of_classifiers(run):
    for name in ("dog@1", "atom", "dog", "oe", "oe+noise", "ce"):
        add_evaluation(run, name, 0.9, {"near": (0.3, 0.9)}, ("msp",))
    assert [e.name for e in read_evaluations(run)] == ["ce", "oe+noise", "oe", "dog", "atom", "dog@1"]


def test_mean_over_fewer_sets_says_so_and_is_compared_on_common_ones(run):
    add_evaluation(run, "ce", 0.9, {"near": (0.4, 0.9), "noise": (0.2, 0.9)}, ("msp",))
    add_evaluation(run, "dog", 0.9, {"near": (0.3, 0.9)}, ("msp",))
    ce, dog = build_table(read_evaluations(run)).blocks[0].rows
    assert (ce.cells[5].text, ce.cells[5].best) == ("30.0", False)
    assert (dog.cells[5].text, dog.cells[5].delta, dog.cells[5].note) == ("30.0", "−10.0", "1 of 2 sets")
    assert dog.cells[3].text == "–" and dog.cells[3].delta == ""


def test_no_changes_without_baseline(run):
    add_evaluation(run, "dog", 0.9, {"near": (0.3, 0.9)}, ("msp",))
    row = build_table(read_evaluations(run)).blocks[0].rows[0]
    assert not any(cell.delta or cell.best for cell in row.cells)


def test_intervals_are_told_where_they_are_known(run):
    add_evaluation(run, "ce", 0.9, {"near": (0.3, 0.9), "noise": (0.2, 0.9)}, ("msp",))
    rows = read_rows(run, "ce")
    rows[0] |= {"fpr95_interval": [0.271, 0.334], "auroc_interval": [0.88, 0.92]}
    change_metrics(run, "ce", rows=rows)
    (row,) = build_table(read_evaluations(run)).blocks[0].rows
    assert [cell.interval for cell in row.cells] == ["", "27.1–33.4", "88.0–92.0", "", "", "", ""]
    for wrong in ("wide", [0.1], [0.1, "b"], [0.1, float("nan")]):
        rows[0] |= {"auroc_interval": wrong}
        change_metrics(run, "ce", rows=rows)
        with pytest.raises(DataError, match="auroc_interval"):
            read_evaluations(run)


# --- verdict ----------------------------------------------------------------------------------------------------
def judged(run) -> Verdict:
    evaluations = read_evaluations(run)
    pair = pair_of(evaluations)
    return judge(evaluations, pair, build_shifts(pair))


def verdict_of(run, ce, dog, ce_accuracy=0.95, dog_accuracy=0.95, scores=("msp", "energy"), doubt=0.05) -> Verdict:
    add_evaluation(run, "ce", ce_accuracy, ce, scores)
    add_evaluation(run, "dog", dog_accuracy, dog, scores)
    add_verdicts(run, "dog", doubt)
    return judged(run)


def test_verdict_better(run):
    verdict = verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.25, 0.9)}, dog_accuracy=0.955)
    assert verdict.tone == "better"
    assert (
        verdict.headline
        == "Under MSP, `dog` lets 25.0 % of unknown images pass where `ce` lets 40.0 %: better under all 2 scores."
    )
    assert verdict.sentences == (
        "ID accuracy is better: 95.5 % against 95.0 % (+0.5 points).",
        "FPR95 got worse on no OOD set under any score.",
    )


def test_verdict_says_worse_when_worse(run):
    verdict = verdict_of(run, {"near": (0.25, 0.9)}, {"near": (0.4, 0.9)}, dog_accuracy=0.94)
    assert verdict.tone == "worse"
    assert verdict.headline.endswith("lets 25.0 %: worse under all 2 scores, at 1.0 points less ID accuracy.")
    assert "FPR95 got worse on near (MSP +15.0, Energy +15.0)." in verdict.sentences


def test_verdict_names_what_a_better_mean_hides(full_run):
    verdict = judged(full_run)
    assert verdict.tone == "better" and "at 1.0 points less ID accuracy" in verdict.headline
    assert re.search(r"got worse on noise \(.*MSP \+10\.0", " ".join(verdict.sentences))


def test_verdict_undecided_is_no_gain(run):
    verdict = verdict_of(run, {"near": (0.4, 0.9), "noise": (0.2, 0.9)}, {"near": (0.3, 0.9), "noise": (0.24, 0.9)})
    assert verdict.tone == "undecided" and verdict.headline.endswith("lets 30.0 %: undecided under all 2 scores.")
    assert (
        "It rose, though no more than other test images could explain, on noise (MSP +4.0, Energy +4.0)." in verdict.sentences
    )


def test_verdict_tells_the_artefact_control_where_both_were_measured(run):
    for name, share in (("ce", 0.05), ("dog", 0.4)):
        add_evaluation(run, name, 0.9, {"near": (0.3, 0.9)})
        control = [{"score": "msp", "called_ood": share, "n": 40}, {"score": "energy", "called_ood": share / 2, "n": 40}]
        change_metrics(run, name, artefact_control=control)
    told = "`dog` calls OOD 40.0 % under MSP (`ce` 5.0 %) and 20.0 % under Energy (`ce` 2.5 %)"
    assert any(told in sentence for sentence in judged(run).sentences)
    change_metrics(run, "dog", artefact_control=[control[0] | {"called_ood": "much"}])
    with pytest.raises(DataError, match="called_ood"):
        read_evaluations(run)


def test_what_was_chosen_on_validation_is_told_in_words(run):
    add_evaluation(run, "ce", 0.9, {"near": (0.3, 0.9)})
    assert read_evaluations(run)[0].chosen == "percentile of ASH-S: 90 (chosen on validation)"
    for wrong in ("many", float("nan"), None, {}):
        change_metrics(run, "ce", hyper_parameters={"ash-s": {"name": "percentile", "value": wrong, "reason": "?"}})
        with pytest.raises(DataError, match="value"):
            read_evaluations(run)
    change_metrics(run, "ce", hyper_parameters=[1])
    with pytest.raises(DataError, match="hyper-parameters are no object"):
        read_evaluations(run)


def test_verdict_mixed_over_scores(run):
    verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.3, 0.9)})
    rows = read_rows(run, "dog")
    rows[1]["fpr95"] = 0.5
    change_metrics(run, "dog", rows=rows)
    add_verdicts(run, "dog")
    verdict = judged(run)
    assert verdict.tone == "mixed"
    assert verdict.headline.endswith("where `ce` lets 40.0 %: better under MSP, worse under Energy.")


def test_verdict_unchanged(run):
    verdict = verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.4003, 0.9)}, scores=("msp",))
    assert verdict.tone == "undecided" and verdict.headline.endswith("lets 40.0 %: undecided.")
    assert "ID accuracy is unchanged at 95.0 %." in verdict.sentences


def test_verdict_without_a_bootstrap_goes_by_the_digits_and_says_so(run):
    add_evaluation(run, "ce", 0.95, {"near": (0.4, 0.9)}, ("msp",))
    add_evaluation(run, "dog", 0.95, {"near": (0.3, 0.9)}, ("msp",))
    verdict = judged(run)
    assert verdict.tone == "better"
    assert "Under MSP nothing says whether the change is more than the draw" in verdict.sentences[-1]


def test_verdict_judges_by_name_and_tells_how_far_the_seeds_lie_apart(run):
    add_evaluation(run, "dog@1", 0.95, {"near": (0.2, 0.9)}, ("msp",))
    verdict = verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.3, 0.9)}, scores=("msp",))
    assert verdict.headline.startswith("Under MSP, `dog` lets 30.0 %"), "not the better `dog@1`"
    assert verdict.sentences[-1] == "Over 2 seeds of `dog` mean FPR95 under MSP runs from 20.0 to 30.0 %; the first is judged."


@pytest.mark.parametrize(
    ("names", "says"), [((), "dogfast evaluate"), (("dog",), "--objective ce"), (("ce",), "--objective dog")]
)
def test_verdict_open(run, names, says):
    for name in names:
        add_evaluation(run, name, 0.95, {"near": (0.4, 0.9)}, ("msp",))
    verdict = judged(run)
    assert verdict.tone == "open" and says in verdict.sentences[0]


@pytest.mark.parametrize(
    ("names", "judged_name"),
    [
        (("oe+noise", "oe", "ce"), "oe"),
        (("ce", "poem", "dog+renders", "dog@1"), "dog@1"),
        (("ce", "poem", "atom"), "atom"),
        (("oe", "dog"), None),
        (("ce", "ce@1"), None),
    ],
)
def test_who_is_judged_goes_by_name(run, names, judged_name):
    for name in names:
        add_evaluation(run, name, 0.95, {"near": (0.4, 0.9)}, ("msp",))
    pair = pair_of(read_evaluations(run))
    assert judged_name == (pair and pair.after.name)


# --- shifts -----------------------------------------------------------------------------------------------------
def shifts_of(run, score="msp"):
    return build_shifts(pair_of(read_evaluations(run)))[score]


def test_shifts_by_set_group_and_mean(full_run):
    shifts = shifts_of(full_run)
    near, noise = shifts.sets
    assert (near.before, near.after, near.delta, near.word) == (pytest.approx(40), pytest.approx(22), "−18.0", "better")
    assert near.interval == (pytest.approx(19), pytest.approx(25))
    assert (noise.delta, noise.word) == ("+10.0", "worse")
    assert [(group.name, group.delta) for group in shifts.groups] == [("near", "−18.0"), ("far", "+10.0")]
    assert (shifts.mean.delta, shifts.mean.word) == ("−4.0", "better") and shifts.tested


def test_an_interval_stays_between_0_and_100_percent(run):
    verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.01, 0.9)})
    assert shifts_of(run).mean.interval == (0, pytest.approx(6))


def test_a_verdict_on_numbers_that_were_measured_anew_since_is_none(full_run):
    rows = read_rows(full_run, "ce")
    rows[0]["fpr95"] = 0.41
    change_metrics(full_run, "ce", rows=rows)
    near, noise = shifts_of(full_run).sets
    assert near.interval is None and near.word == "better"
    assert noise.interval is not None and not shifts_of(full_run).tested


def test_a_run_of_another_seed_has_its_own_baseline(run):
    for name, fpr in (("ce@2", 0.4), ("dog@2", 0.25), ("oe@2", 0.3)):
        add_evaluation(run, name, 0.95, {"near": (fpr, 0.9)}, ("msp",))
    pair = pair_of(read_evaluations(run))
    assert (pair.before.name, pair.after.name) == ("ce@2", "dog@2") and "`ce@2` lets 40.0 %" in judged(run).headline
    add_evaluation(run, "ce", 0.95, {"near": (0.5, 0.9)}, ("msp",))
    assert pair_of(read_evaluations(run)).before.name == "ce", "the first seed's, where there is one"


def test_a_verdict_against_another_classifier_is_none_against_this_one(full_run):
    change_metrics(full_run, "dog", verdicts={"against": "ce@1", "rows": [{"nothing": 1}]})
    assert not shifts_of(full_run).tested


@pytest.mark.parametrize(
    "verdicts",
    [
        [1],
        {"against": "ce", "rows": 3},
        {"against": "ce", "rows": [{"score": "msp", "dataset": "near", "change": "less"}]},
        {"against": "ce", "means": [{"score": "msp", "change": 0, "low": 0, "high": 0, "verdict": "splendid"}]},
    ],
)
def test_broken_verdicts_are_named(full_run, verdicts):
    change_metrics(full_run, "dog", verdicts=verdicts)
    with pytest.raises(DataError, match=r"dog/metrics\.json"):
        read_evaluations(full_run)


# --- costs ------------------------------------------------------------------------------------------------------
def corrupted(score, refused):
    common = {"score": score, "n": 100}
    return [
        common | {"corruption": "none", "severity": 0.0, "refused": 0.05, "id_accuracy": 0.9},
        common | {"corruption": "jpeg", "severity": 80.0, "refused": refused, "id_accuracy": 0.85},
    ]


def test_costs_by_kind_and_classifier(full_run):
    change_metrics(full_run, "ce", corrupted_id=corrupted("msp", 0.2))
    control = [{"score": "msp", "called_ood": 0.4, "n": 141}]
    change_metrics(full_run, "dog", corrupted_id=corrupted("msp", 0.3), artefact_control=control)
    costs = build_costs(read_evaluations(full_run))
    assert list(costs) == ["msp"]
    table = costs["msp"]
    assert dict(zip(table.kinds, table.n)) == {"undamaged": "100", "jpeg 80": "100", "painted by the generator": "141"}
    cells = {row.name: [(cell.text, cell.delta, cell.worse, cell.accuracy) for cell in row.cells] for row in table.rows}
    assert cells == {
        "ce": [("5.0", "", False, "90.0"), ("20.0", "", False, "85.0"), ("–", "", False, "")],
        "dog": [("5.0", "±0.0", False, "90.0"), ("30.0", "+10.0", True, "85.0"), ("40.0", "", False, "")],
    }


@pytest.mark.parametrize("rows", [3, [3], [{"corruption": "jpeg", "severity": 1, "score": "msp", "refused": 5}]])
def test_broken_costs_are_named(full_run, rows):
    change_metrics(full_run, "dog", corrupted_id=rows)
    with pytest.raises(DataError, match=r"dog/metrics\.json"):
        read_evaluations(full_run)


# --- histograms -------------------------------------------------------------------------------------------------
def test_infinities_stand_in_the_outermost_bins():
    shares = shares_by_bin(np.array([-np.inf, 0.5, np.inf, np.inf]), 0, 1, bins=4)
    assert shares.tolist() == [0.25, 0, 0.25, 0.5]
    assert _log_odds(np.array([0.0, 0.5, 1.0], dtype=np.float32)).tolist() == [-np.inf, 0, np.inf]


def test_charts_of_nothing_but_infinities(run):
    add_evaluation(run, "ce", 0.9, {"near": (1.0, 0.5)}, ("energy",))
    everywhere = np.full(10, np.inf, dtype=np.float32)
    save_file({"id": everywhere, "near": -everywhere}, run.evaluation("ce") / "scores" / "energy.safetensors")
    panel = charts_of(run)["energy"].strips[0].panels[0]
    assert panel.threshold == 100 and panel.accepted_path == ""
    assert "nan" not in panel.id_path + panel.rejected_path


def test_rejected_and_accepted_parts_meet_at_the_threshold():
    heights = np.array([0.5, 1.0])
    assert _steps(heights, 0, 0.75) == "M0.0 60V30.0H50.0V0.0H75.0V60Z"
    assert _steps(heights, 0.75, 1) == "M75.0 60V0.0H100.0V60Z"
    assert _steps(heights, 1, 1) == ""


def charts_of(run):
    evaluations = read_evaluations(run)
    return build_charts(evaluations, pair_of(evaluations))


def test_charts_show_the_pair_and_then_the_others(full_run):
    charts = charts_of(full_run)
    assert charts.keys() == {"msp", "energy", "ash-s"}
    for chart in charts.values():
        assert [strip.dataset for strip in chart.strips] == ["near", "noise"]
        assert [panel.classifier for panel in chart.strips[0].panels] == ["ce", "dog"]
        assert [panel.classifier for panel in chart.strips[0].others] == ["oe+noise"]
        assert chart.strips[0].panels[1].fpr95 == "22.0"
        assert all(0 <= tick.at <= 100 for panel in chart.strips[0].panels for tick in panel.ticks)


def test_the_pair_shares_an_axis_and_the_others_do_not(full_run):
    for name, factor in (("dog", 3.0), ("oe+noise", 50.0)):
        path = full_run.evaluation(name) / "scores" / "energy.safetensors"
        save_file({key: factor * values for key, values in load_file(path).items()}, path)
    ce, dog, oe = charts_of(full_run)["energy"].binned
    assert (ce.low, ce.high) == (dog.low, dog.high) and oe.high > 5 * dog.high
    (alone,) = build_charts([ce.evaluation], None)["energy"].binned
    assert alone.high < ce.high, "wide enough for the one that spreads more"


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}{}{}{}", b"\xff" * 64])
def test_damaged_scores_are_named(full_run, content):
    (full_run.evaluation("dog") / "scores" / "msp.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"msp\.safetensors"):
        charts_of(full_run)


def test_nan_scores_are_refused(full_run):
    path = full_run.evaluation("dog") / "scores" / "msp.safetensors"
    save_file({"id": np.array([0.5, np.nan], dtype=np.float32)}, path)
    with pytest.raises(DataError, match="scores of 'id' are NaN"):
        charts_of(full_run)


def test_score_names_never_become_paths(run):
    add_evaluation(run, "ce", 0.9, {"near": (0.3, 0.9)}, ("msp",))
    path = run.evaluation("ce") / "metrics.json"
    publish(path, path.read_text().replace('"msp"', '"../../../etc/passwd"'))
    assert charts_of(run)["../../../etc/passwd"].missing == ("ce",)


# --- distance lines ---------------------------------------------------------------------------------------------
def test_lines(run):
    add_anchors(run)
    lines = build_lines(run)
    assert [line.class_name for line in lines] == list(CLASSES)
    line = lines[0]
    assert (line.n_kept, line.n_dropped, line.bound, line.limit) == (5, 2, 0.30, 0.42)
    assert [word.word for word in line.kept] == [f"word{k}" for k in range(5)]
    by_word = {word.word: word for word in line.words}
    assert by_word["tooclose"].x < line.bound_x < by_word["word0"].x < line.limit_x < by_word["<i>far</i>"].x
    assert by_word["tooclose"].reason == "nearer than the class's name"


def test_no_lines_without_anchors(run):
    assert build_lines(run) == []


def test_lines_without_candidates(run):
    add_anchors(run)
    run.candidates.unlink()
    assert build_lines(run)[0].n_dropped == 0


@pytest.mark.parametrize(("fits", "width_px"), [(("narrow",), NARROW_PX), (("narrow", "wide"), WIDE_PX)])
def test_labels_do_not_collide(fits, width_px):
    rng = np.random.default_rng(3)
    words = [
        Word("w" * int(n), float(x), True, "", x=float(x)) for n, x in zip(rng.integers(3, 20, 40), rng.uniform(4, 96, 40))
    ]
    shown = [word for word in _labelled(words, 3) if word.fits in fits]
    assert len(shown) > 5
    for a in shown:
        for b in shown:
            if a is not b and a.lane == b.lane:
                centre = {"start": 0.5, "middle": 0.0, "end": -0.5}
                middles = [w.x * width_px / 100 + centre[w.align] * LETTER_PX * len(w.label) for w in (a, b)]
                assert abs(middles[0] - middles[1]) >= LETTER_PX * (len(a.label) + len(b.label)) / 2
