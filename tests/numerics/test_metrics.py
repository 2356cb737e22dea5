import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from dogfast.errors import DataError
from dogfast.numerics import metrics
from dogfast.numerics.metrics import detection_metrics, fpr95, refused_share, threshold_at_recall

SHARES = ("fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out")
# Few distinct values make many ties; the infinities are scores like any other.
SCORES = st.lists(st.sampled_from([-math.inf, -3.0, -1.5, -0.0, 0.0, 0.25, 1.0, 7.0, math.inf]), min_size=1, max_size=25)
quick = settings(deadline=None, max_examples=60)


# --- brute force, from the definitions --------------------------------------------------------------------------
def brute_threshold(id_scores):
    return max(t for t in id_scores if 100 * sum(s >= t for s in id_scores) >= 95 * len(id_scores))


def brute_fpr95(id_scores, ood_scores):
    threshold = brute_threshold(id_scores)
    return sum(s >= threshold for s in ood_scores) / len(ood_scores)


def brute_auroc(id_scores, ood_scores):
    return sum((a > b) + (a == b) / 2 for a in id_scores for b in ood_scores) / (len(id_scores) * len(ood_scores))


def brute_average_precision(positive, negative):
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(positive) | set(negative), reverse=True):
        hits, alarms = (sum(s >= threshold for s in scores) for scores in (positive, negative))
        recall = hits / len(positive)
        total += (recall - recall_before) * hits / (hits + alarms)
        recall_before = recall
    return total


def brute(id_scores, ood_scores):
    id_negated, ood_negated = [-s for s in id_scores], [-s for s in ood_scores]
    return {
        "fpr95": brute_fpr95(id_scores, ood_scores),
        "fpr95_ood": brute_fpr95(ood_negated, id_negated),
        "auroc": brute_auroc(id_scores, ood_scores),
        "aupr_in": brute_average_precision(id_scores, ood_scores),
        "aupr_out": brute_average_precision(ood_negated, id_negated),
    }


def shares(measured):
    return {name: measured[name] for name in SHARES}


# --- properties -------------------------------------------------------------------------------------------------
@quick
@given(SCORES, SCORES)
@example([1.0], [1.0])
@example([math.inf], [-math.inf])
def test_equals_brute_force(id_scores, ood_scores):
    measured = detection_metrics(np.array(id_scores), np.array(ood_scores))
    assert shares(measured) == pytest.approx(brute(id_scores, ood_scores), abs=1e-12)
    assert measured["threshold"] == brute_threshold(id_scores)
    assert (measured["n_id"], measured["n_ood"]) == (len(id_scores), len(ood_scores))
    assert set(measured) == {*SHARES, "threshold", "n_id", "n_ood"}


FINITE = st.lists(st.sampled_from([-3.0, -1.5, 0.0, 0.25, 1.0, 7.0]), min_size=1, max_size=25)


@quick
@given(FINITE, FINITE)
@example([1.0], [1.0])
def test_equals_scikit_learn_and_scipy_on_the_scores_themselves(id_scores, ood_scores):
    measured = detection_metrics(np.array(id_scores), np.array(ood_scores))
    scores, is_id = np.array(id_scores + ood_scores), np.arange(len(id_scores) + len(ood_scores)) < len(id_scores)
    accepted, recall, _ = sklearn.metrics.roc_curve(is_id, scores, drop_intermediate=False)
    flagged, caught, _ = sklearn.metrics.roc_curve(~is_id, -scores, drop_intermediate=False)
    wanted = {
        "fpr95": accepted[np.argmax(recall >= 0.95)],
        "fpr95_ood": flagged[np.argmax(caught >= 0.95)],
        "auroc": stats.mannwhitneyu(id_scores, ood_scores).statistic / len(id_scores) / len(ood_scores),
        "aupr_in": sklearn.metrics.average_precision_score(is_id, scores),
        "aupr_out": sklearn.metrics.average_precision_score(~is_id, -scores),
    }
    assert shares(measured) == pytest.approx(wanted, abs=1e-12)


@quick
@given(SCORES, SCORES)
def test_refused_and_accepted_are_the_whole(id_scores, ood_scores):
    threshold = threshold_at_recall(np.array(id_scores))
    assert refused_share(np.array(ood_scores), threshold, "svhn") == pytest.approx(
        1 - fpr95(np.array(id_scores), np.array(ood_scores))
    )
    assert refused_share(np.array(id_scores), threshold, "ID") <= 0.05 + 1e-12


@quick
@given(SCORES, SCORES)
def test_increasing_transforms_change_nothing_but_the_threshold(id_scores, ood_scores):
    def transform(scores):
        return np.arctan(np.array(scores)) * 1e-3 + 5

    before = detection_metrics(np.array(id_scores), np.array(ood_scores))
    after = detection_metrics(transform(id_scores), transform(ood_scores))
    assert shares(after) == shares(before)
    assert after["threshold"] == transform([before["threshold"]])[0]


@quick
@given(SCORES, SCORES)
def test_swapping_roles_maps_one_convention_onto_the_other(id_scores, ood_scores):
    one = detection_metrics(np.array(id_scores), np.array(ood_scores))
    other = detection_metrics(-np.array(ood_scores), -np.array(id_scores))
    assert (one["fpr95"], one["fpr95_ood"]) == (other["fpr95_ood"], other["fpr95"])
    assert (one["aupr_in"], one["aupr_out"]) == (other["aupr_out"], other["aupr_in"])
    assert one["auroc"] == pytest.approx(other["auroc"], abs=1e-12)


# --- cases ------------------------------------------------------------------------------------------------------
def test_continuous_scores_against_brute_force():
    rng = np.random.default_rng(0)
    id_scores, ood_scores = rng.normal(1, 1, 173), rng.normal(0, 2, 91)
    measured = detection_metrics(id_scores, ood_scores)
    assert shares(measured) == pytest.approx(brute(id_scores.tolist(), ood_scores.tolist()), abs=1e-12)
    assert measured["fpr95"] != measured["fpr95_ood"]


def test_constant_scores_are_chance():
    measured = detection_metrics(np.full(30, 2.5), np.full(10, 2.5))
    assert shares(measured) == {"fpr95": 1.0, "fpr95_ood": 1.0, "auroc": 0.5, "aupr_in": 0.75, "aupr_out": 0.25}


def test_perfect_separation():
    measured = detection_metrics(np.array([math.inf, 3.0]), np.array([1.0, -math.inf]))
    assert shares(measured) == {"fpr95": 0.0, "fpr95_ood": 0.0, "auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0}


def test_magnitudes_that_saturate_a_sigmoid_keep_their_order():
    scores = np.arange(1000) / 10 + 50
    assert detection_metrics(scores[500:], scores[:500])["auroc"] == 1.0


@pytest.mark.parametrize("count", [*range(1, 130), 1000, 9999, 10_000])
def test_threshold_has_the_recall_and_the_next_score_up_has_not(count):
    scores = np.arange(count, dtype=float)
    threshold = threshold_at_recall(scores)
    assert 100 * (scores >= threshold).sum() >= 95 * count
    assert 100 * (scores > threshold).sum() < 95 * count


def test_threshold_at_other_recalls():
    scores = np.array([4.0, 1.0, 3.0, 2.0])
    assert [threshold_at_recall(scores, recall) for recall in (0.25, 0.26, 0.75, 1.0)] == [4.0, 3.0, 2.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_of_any_float_type(dtype):
    id_scores = torch.tensor([0.5, 2.0, 3.0], dtype=dtype, requires_grad=True)
    ood_scores = torch.tensor([0.25, 2.0], dtype=dtype)
    measured = detection_metrics(id_scores, ood_scores)
    assert shares(measured) == pytest.approx(brute([0.5, 2.0, 3.0], [0.25, 2.0]))


@pytest.mark.parametrize("bad, message", [([1.0, math.nan], "1 of 2 scores are NaN"), ([], "no scores")])
def test_nan_and_emptiness_are_refused_by_name(bad, message):
    good, bad = np.array([1.0, 2.0]), np.array(bad)
    with pytest.raises(DataError, match=f"^svhn: .*{message}"):
        detection_metrics(good, bad, ood_name="svhn")
    with pytest.raises(DataError, match=f"^cifar10: .*{message}"):
        detection_metrics(bad, good, id_name="cifar10")
    for measure in SHARES:
        with pytest.raises(DataError, match=message):
            getattr(metrics, measure)(good, bad)


@pytest.mark.parametrize("bad, message", [([1.0, math.nan], "1 of 2 scores are NaN"), ([], "no scores")])
def test_a_share_of_nan_or_nothing_is_refused_by_name(bad, message):
    with pytest.raises(DataError, match=f"^svhn: .*{message}"):
        refused_share(np.array(bad), 0.0, "svhn")


def test_input_is_not_written_to():
    id_scores, ood_scores = np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.0])
    detection_metrics(id_scores, ood_scores)
    assert id_scores.tolist() == [3.0, 1.0, 2.0] and ood_scores.tolist() == [2.0, 0.0]
