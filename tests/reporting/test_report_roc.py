"""ROC curves against scikit-learn's, and how little is lost where a curve is thinned."""

import numpy as np
import pytest
from sklearn.metrics import auc, roc_auc_score, roc_curve

from dogfast.numerics.metrics import fpr95
from dogfast.reporting.drawing import thinned
from dogfast.reporting.inputs import read_evaluations
from dogfast.reporting.pair import pair_of
from dogfast.reporting.roc import TOLERANCE, build_rocs, roc_points
from tests.reporting.made_up_run import add_evaluation


def scores(seed, n_id=400, n_ood=300, decimals=8):
    rng = np.random.default_rng(seed)
    return rng.normal(1, 1, n_id).round(decimals), rng.normal(0, 1, n_ood).round(decimals)


@pytest.mark.parametrize("decimals", [8, 1, 0])
def test_points_are_those_of_scikit_learn_with_ties(decimals):
    id_scores, ood_scores = scores(0, decimals=decimals)
    is_id = np.arange(700) < 400
    ood, known, _ = roc_curve(is_id, np.concatenate([id_scores, ood_scores]), drop_intermediate=False)
    points = roc_points(id_scores, ood_scores)
    assert np.allclose(np.interp(np.linspace(0, 1, 999), *points.T), np.interp(np.linspace(0, 1, 999), ood, known))
    assert auc(*points.T) == pytest.approx(roc_auc_score(is_id, np.concatenate([id_scores, ood_scores])))


def test_infinite_and_equal_scores():
    points = roc_points(np.array([np.inf, np.inf, 0.0]), np.array([-np.inf, 0.0]))
    assert points.tolist() == [[0, 0], [0, 2 / 3], [0.5, 1], [1, 1]]
    assert roc_points(np.zeros(3), np.zeros(2)).tolist() == [[0, 0], [1, 1]]


def test_fpr95_lies_on_the_curve():
    id_scores, ood_scores = scores(3)
    points = roc_points(id_scores, ood_scores)
    assert points[points[:, 1] >= 0.95][0, 0] <= fpr95(id_scores, ood_scores)


def test_a_thinned_curve_keeps_its_ends_and_its_tolerance():
    whole = 100 * roc_points(*scores(1, 20_000, 20_000))
    few = thinned(whole, TOLERANCE)
    assert len(few) < 100 < len(whole)
    assert few[0].tolist() == [0, 0] and few[-1].tolist() == [100, 100]
    for point in whole[::50]:
        starts, ways = few[:-1], np.diff(few, axis=0)
        along = np.clip(((point - starts) * ways).sum(1) / (ways**2).sum(1), 0, 1)
        assert np.linalg.norm(starts + along[:, None] * ways - point, axis=1).min() <= TOLERANCE + 1e-9


def rocs_of(run):
    evaluations = read_evaluations(run)
    return build_rocs(evaluations, pair_of(evaluations))


def test_curves_before_and_after(full_run):
    rocs = rocs_of(full_run)
    assert rocs.keys() == {"msp", "energy", "ash-s"}
    near, noise = rocs["msp"].plots
    assert (near.dataset, noise.dataset, noise.group) == ("near", "noise", "far")
    assert [(curve.classifier, curve.auroc, curve.fpr95) for curve in near.curves] == [
        ("ce", "90.0", pytest.approx(40)),
        ("dog", "95.0", pytest.approx(22)),
    ]
    for curve in near.curves:
        ood, known = curve.points.T
        assert np.interp(95, known, ood) == pytest.approx(curve.fpr95, abs=2.5), "the dot lies on the curve"
        assert curve.path.startswith("M0 100L") and curve.path.endswith("L100 0")


def test_one_classifier_alone(run):
    add_evaluation(run, "oe", 0.9, {"near": (0.3, 0.9)}, ("msp",))
    assert [curve.classifier for curve in rocs_of(run)["msp"].plots[0].curves] == ["oe"]


def test_no_curve_without_scores(full_run):
    for name in ("ce", "dog"):
        (full_run.evaluation(name) / "scores" / "msp.safetensors").unlink()
    assert rocs_of(full_run)["msp"].plots == ()


def test_sets_are_bounded(full_run, monkeypatch):
    monkeypatch.setattr("dogfast.reporting.roc.CURVES_AT_MOST", 6)
    roc = rocs_of(full_run)["msp"]
    assert len(roc.plots) == 1 and roc.hidden == 1
