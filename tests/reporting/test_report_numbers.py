"""The table, the verdict, the histograms and the distance lines: what is computed from the numbers."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from dogfast.errors import DataError
from dogfast.reporting.distances import LETTER_PX, NARROW_PX, WIDE_PX, Word, _labelled, build_lines
from dogfast.reporting.histograms import _log_odds, _steps, build_charts, recall_threshold, shares_by_bin
from dogfast.reporting.inputs import read_evaluations
from dogfast.reporting.table import build_table
from dogfast.reporting.verdict import judge
from dogfast.run import publish
from tests.reporting.made_up_run import CLASSES, add_anchors, add_evaluation


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


# --- verdict ----------------------------------------------------------------------------------------------------
def verdict_of(run, ce, dog, ce_accuracy=0.95, dog_accuracy=0.95, scores=("msp", "energy")):
    add_evaluation(run, "ce", ce_accuracy, ce, scores)
    add_evaluation(run, "dog", dog_accuracy, dog, scores)
    return judge(read_evaluations(run))


def test_verdict_better(run):
    verdict = verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.25, 0.9)}, dog_accuracy=0.955)
    assert verdict.tone == "better"
    assert verdict.headline == "On average `dog` lets fewer unknown images pass than `ce` under all 2 scores."
    assert [(c.before, c.after, c.delta, c.word) for c in verdict.changes] == [("40.0", "25.0", "−15.0", "better")] * 2
    assert verdict.sentences[:2] == (
        "ID accuracy is better: 95.5 % against 95.0 % (+0.5 points).",
        "FPR95 got worse on no OOD set under any score.",
    )


def test_verdict_says_worse_when_worse(run):
    verdict = verdict_of(run, {"near": (0.25, 0.9)}, {"near": (0.4, 0.9)}, dog_accuracy=0.94)
    assert verdict.tone == "worse"
    assert verdict.headline.startswith("`dog` is worse than `ce`")
    assert verdict.headline.endswith("at 1.0 points less ID accuracy.")
    assert "FPR95 got worse on near (MSP +15.0, Energy +15.0)." in verdict.sentences


def test_verdict_names_what_a_better_mean_hides(full_run):
    verdict = judge(read_evaluations(full_run))
    assert verdict.tone == "better" and "at 1.0 points less ID accuracy" in verdict.headline
    assert re.search(r"got worse on noise \(.*MSP \+10\.0", " ".join(verdict.sentences))
    assert verdict.changes[0].groups == (("near", "−18.0", "better"), ("far", "+10.0", "worse"))


def test_verdict_tells_the_artefact_control_where_both_were_measured(run):
    for name, share in (("ce", 0.05), ("dog", 0.4)):
        add_evaluation(run, name, 0.9, {"near": (0.3, 0.9)})
        path = run.evaluation(name) / "metrics.json"
        control = [{"score": "msp", "called_ood": share, "n": 40}, {"score": "energy", "called_ood": share / 2, "n": 40}]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"artefact_control": control}))
    sentence = judge(read_evaluations(run)).sentences[-1]
    assert "`dog` calls OOD 40.0 % under MSP (`ce` 5.0 %) and 20.0 % under Energy (`ce` 2.5 %)" in sentence
    path.write_text(path.read_text().replace("0.4", '"much"'))
    with pytest.raises(DataError, match="called_ood"):
        read_evaluations(run)


def test_what_was_chosen_on_validation_is_told_in_words(run):
    add_evaluation(run, "ce", 0.9, {"near": (0.3, 0.9)})
    assert read_evaluations(run)[0].chosen == "percentile of ASH-S: 90 (chosen on validation)"
    path = run.evaluation("ce") / "metrics.json"
    for wrong in ('"many"', "NaN", "null", "{}"):
        path.write_text(json.dumps(json.loads(path.read_text())).replace('"value": 90', f'"value": {wrong}'))
        with pytest.raises(DataError, match="value"):
            read_evaluations(run)
        add_evaluation(run, "ce", 0.9, {"near": (0.3, 0.9)})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hyper_parameters": [1]}))
    with pytest.raises(DataError, match="hyper-parameters are no object"):
        read_evaluations(run)


def test_verdict_mixed_over_scores(run):
    add_evaluation(run, "ce", 0.95, {"near": (0.4, 0.9)}, ("msp", "energy"))
    add_evaluation(run, "dog", 0.95, {"near": (0.3, 0.9)}, ("msp", "energy"))
    path = run.evaluation("dog") / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["rows"][1]["fpr95"] = 0.5
    publish(path, json.dumps(metrics))
    verdict = judge(read_evaluations(run))
    assert verdict.tone == "mixed"
    assert verdict.headline == "Against `ce`, `dog` is on average better under MSP; worse under Energy."


def test_verdict_unchanged(run):
    verdict = verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.4003, 0.9)}, scores=("msp",))
    assert verdict.tone == "same" and "equally many" in verdict.headline
    assert "ID accuracy is unchanged at 95.0 %." in verdict.sentences


def test_verdict_judges_one_classifier_and_owns_up_to_the_choice(run):
    add_evaluation(run, "dog@1", 0.95, {"near": (0.2, 0.9)}, ("msp",))
    verdict = verdict_of(run, {"near": (0.4, 0.9)}, {"near": (0.3, 0.9)}, scores=("msp",))
    assert verdict.subject == "dog@1" and "best of 2" in verdict.sentences[-1]


@pytest.mark.parametrize(
    ("names", "says"), [((), "dogfast evaluate"), (("dog",), "--objective ce"), (("ce", "oe"), "--objective dog")]
)
def test_verdict_open(run, names, says):
    for name in names:
        add_evaluation(run, name, 0.95, {"near": (0.4, 0.9)}, ("msp",))
    verdict = judge(read_evaluations(run))
    assert verdict.tone == "open" and says in verdict.sentences[0]


# --- histograms -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 19, 20, 21, 100])
def test_threshold_is_the_largest_with_enough_recall(n):
    scores = np.random.default_rng(n).normal(size=n)
    threshold = recall_threshold(scores)
    larger = scores[scores > threshold]
    assert (scores >= threshold).mean() >= 0.95
    assert not len(larger) or (scores >= larger.min()).mean() < 0.95


def test_infinities_stand_in_the_outermost_bins():
    shares = shares_by_bin(np.array([-np.inf, 0.5, np.inf, np.inf]), 0, 1, bins=4)
    assert shares.tolist() == [0.25, 0, 0.25, 0.5]
    assert _log_odds(np.array([0.0, 0.5, 1.0], dtype=np.float32)).tolist() == [-np.inf, 0, np.inf]


def test_charts_of_nothing_but_infinities(run):
    add_evaluation(run, "ce", 0.9, {"near": (1.0, 0.5)}, ("energy",))
    everywhere = np.full(10, np.inf, dtype=np.float32)
    save_file({"id": everywhere, "near": -everywhere}, run.evaluation("ce") / "scores" / "energy.safetensors")
    panel = build_charts(read_evaluations(run))[0].strips[0].panels[0]
    assert panel.threshold == 100 and panel.accepted_path == ""
    assert "nan" not in panel.id_path + panel.rejected_path


def test_rejected_and_accepted_parts_meet_at_the_threshold():
    heights = np.array([0.5, 1.0])
    assert _steps(heights, 0, 0.75) == "M0.0 60V30.0H50.0V0.0H75.0V60Z"
    assert _steps(heights, 0.75, 1) == "M75.0 60V0.0H100.0V60Z"
    assert _steps(heights, 1, 1) == ""


def test_charts_show_every_classifier_and_set(full_run):
    charts = build_charts(read_evaluations(full_run))
    assert {chart.score for chart in charts} == {"msp", "energy", "ash-s"}
    for chart in charts:
        assert [strip.dataset for strip in chart.strips] == ["near", "noise"]
        assert [panel.classifier for panel in chart.strips[0].panels] == ["ce", "oe+noise", "dog"]
        assert chart.strips[0].panels[2].fpr95 == "22.0"
        assert all(0 <= tick.at <= 100 for panel in chart.strips[0].panels for tick in panel.ticks)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}{}{}{}", b"\xff" * 64])
def test_damaged_scores_are_named(full_run, content):
    (full_run.evaluation("dog") / "scores" / "msp.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"msp\.safetensors"):
        build_charts(read_evaluations(full_run))


def test_nan_scores_are_refused(full_run):
    path = full_run.evaluation("dog") / "scores" / "msp.safetensors"
    save_file({"id": np.array([0.5, np.nan], dtype=np.float32)}, path)
    with pytest.raises(DataError, match="'id' is no list of scores"):
        build_charts(read_evaluations(full_run))


def test_score_names_never_become_paths(run):
    add_evaluation(run, "ce", 0.9, {"near": (0.3, 0.9)}, ("msp",))
    path = run.evaluation("ce") / "metrics.json"
    publish(path, path.read_text().replace('"msp"', '"../../../etc/passwd"'))
    assert build_charts(read_evaluations(run))[0].missing == ("ce",)


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
