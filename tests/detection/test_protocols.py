"""The measures of other lines of work, each against a reference of another make."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from dogfast.config import detection
from dogfast.config.detection import ENERGY_OOD, FULL, OPENOOD
from dogfast.detection.protocols import (
    DRAWS,
    PROTOCOLS,
    add_protocol,
    energy_ood,
    fpr_at_nearest_recall,
    group_means,
    openood,
)
from dogfast.errors import DataError
from dogfast.numerics.metrics import fpr95

RNG = np.random.default_rng(0)
ID, OOD = RNG.normal(2, 1, 100), RNG.normal(0, 1, 90)
SCORES = st.lists(st.sampled_from([-math.inf, -3.0, -1.5, 0.0, 0.25, 1.0, 7.0, math.inf]), min_size=1, max_size=40)


def ranks_and_labels(known, unknown):
    """Without infinities, which scikit-learn refuses: the order is all that counts."""
    _, ranks = np.unique(np.concatenate([known, unknown]), return_inverse=True)
    return ranks.ravel(), np.arange(len(known) + len(unknown)) < len(known)


# --- energy_ood -------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=100)
@given(SCORES, SCORES)
@example([1.0], [1.0])
@example([1.0] * 20, [-math.inf, math.inf])
def test_the_nearest_recall_is_that_of_the_roc_curve(id_scores, ood_scores):
    known, unknown = np.array(id_scores), np.array(ood_scores)
    ranks, is_id = ranks_and_labels(known, unknown)
    accepted, recall, _ = roc_curve(is_id, ranks, drop_intermediate=False)
    points = range(int(np.argmax(recall == 1)), 0, -1)  # from full recall to the highest score; the curve's origin is none
    nearest = min(points, key=lambda point: abs(recall[point] - 0.95))
    assert fpr_at_nearest_recall(known, unknown) == pytest.approx(accepted[nearest], abs=1e-12)


def test_the_nearest_recall_may_lie_below_ours():
    """18 of 19 ID images are 94.7 %, nearer to 95 % than all of them, and accept what lies just above the last one."""
    known = np.arange(19.0)
    for unknown, nearest, ours in (([-1.0, 0.0], 0.0, 0.5), ([0.5, 1.5], 1.0, 1.0)):
        assert fpr_at_nearest_recall(known, np.array(unknown)) == nearest
        assert fpr95(known, np.array(unknown)) == ours


def test_draws_are_a_fifth_of_the_id_images_and_a_function_of_the_seed():
    found = energy_ood(ID, OOD, 0)
    assert (found["n_ood"], found["draws"]) == (20, DRAWS)
    assert found == energy_ood(ID, OOD, 0) != energy_ood(ID, OOD, 1)
    assert all(found[f"{name}_sd"] > 0 for name in ("fpr_nearest", "auroc", "aupr_in"))


def test_means_are_those_of_draws_without_replacement():
    """With as many draws as here, the mean lies within four standard errors of the whole set's value."""
    found = energy_ood(ID, OOD, 3)
    whole = {
        "auroc": roc_auc_score([1] * 100 + [0] * 90, np.concatenate([ID, OOD])),
        "fpr_nearest": fpr_at_nearest_recall(ID, OOD),
    }
    for name, value in whole.items():
        assert abs(found[name] - value) < 4 * found[f"{name}_sd"] / math.sqrt(DRAWS)
    few = energy_ood(ID, np.arange(20.0), 0)
    assert few["fpr_nearest"] == pytest.approx(fpr_at_nearest_recall(ID, np.arange(20.0))), (
        "20 of 20 without replacement are all of them"
    )
    assert few["auroc_sd"] == pytest.approx(0, abs=1e-12)


def test_the_precision_of_a_draw_knows_how_few_ood_images_it_has():
    known, unknown = np.full(100, 1.0), np.full(90, 1.0)
    assert energy_ood(known, unknown, 0)["aupr_in"] == pytest.approx(100 / 120)


def test_smaller_sets_are_taken_whole():
    found = energy_ood(ID, OOD[:7], 0)
    assert found["n_ood"] == 7 and found["aupr_in"] == pytest.approx(
        average_precision_score([1] * 100 + [0] * 7, np.concatenate([ID, OOD[:7]]))
    )
    assert energy_ood(ID[:3], OOD, 0)["n_ood"] == 1


# --- openood ----------------------------------------------------------------------------------------------------
@settings(deadline=None, max_examples=60)
@given(SCORES, SCORES)
@example([1.0], [1.0])
def test_openood_is_what_its_evaluator_computes(id_scores, ood_scores):
    ranks, is_id = ranks_and_labels(np.array(id_scores), np.array(ood_scores))
    flagged, caught, _ = roc_curve(~is_id, -ranks, drop_intermediate=False)
    polygon = {}
    for name, positive, sign in (("aupr_in", is_id, 1), ("aupr_out", ~is_id, -1)):
        precision, recall, _ = precision_recall_curve(positive, sign * ranks)
        polygon[name] = auc(recall, precision)
    wanted = {"fpr95": flagged[np.argmax(caught >= 0.95)], "auroc": auc(flagged, caught)} | polygon
    assert openood(np.array(id_scores), np.array(ood_scores), 0) == pytest.approx(wanted, abs=1e-12)


def test_the_polygon_flatters_a_constant_score():
    found = openood(np.full(90, 1.0), np.full(10, 1.0), 0)
    assert found["aupr_out"] == pytest.approx((1 + 0.1) / 2), "average precision says 0.1"
    assert (found["fpr95"], found["auroc"]) == (1.0, 0.5)


@pytest.mark.parametrize("measure", [energy_ood, openood])
@pytest.mark.parametrize("bad", [[1.0, math.nan], []])
def test_nan_and_emptiness_are_refused(measure, bad):
    for known, unknown in ((ID, np.array(bad)), (np.array(bad), OOD)):
        with pytest.raises(DataError):
            measure(known, unknown, 0)


# --- all rows ---------------------------------------------------------------------------------------------------
SHARES = ("fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out")
SETS = {"cifar100": "near", "tin": "near", "svhn": "far"}


def rows_and_scores():
    scores = {"msp": {"id": torch.tensor(ID)} | {name: torch.tensor(OOD + k) for k, name in enumerate(SETS)}}
    rows = [
        {"score": "msp", "dataset": name, "group": group} | dict.fromkeys(SHARES, k / 4)
        for k, (name, group) in enumerate(SETS.items())
    ]
    return rows, scores


def test_full_adds_nothing_to_a_row():
    rows, scores = rows_and_scores()
    before = [dict(row) for row in rows]
    add_protocol(rows, scores, FULL, 0)
    assert rows == before


@pytest.mark.parametrize("name", [ENERGY_OOD, OPENOOD])
def test_a_protocol_stands_under_its_own_name(name):
    rows, scores = rows_and_scores()
    add_protocol(rows, scores, name, 5)
    for row in rows:
        assert row[name] == PROTOCOLS[name](scores["msp"]["id"], scores["msp"][row["dataset"]], 5)
    near, far = group_means(rows, name)
    assert near[name]["auroc"] == pytest.approx((rows[0][name]["auroc"] + rows[1][name]["auroc"]) / 2)
    assert set(near[name]).isdisjoint({"n_ood", "draws", "auroc_sd"}) and far[name]["auroc"] == rows[2][name]["auroc"]


def test_means_are_of_near_and_far_apart():
    rows, _ = rows_and_scores()
    near, far = group_means(rows, FULL)
    assert (near["score"], near["group"], near["datasets"]) == ("msp", "near", ["cifar100", "tin"])
    assert {near[name] for name in SHARES} == {0.125} and {far[name] for name in SHARES} == {0.5}
    assert set(far) == {"score", "group", "datasets", *SHARES}


def test_the_configuration_names_the_same_protocols():
    assert tuple(PROTOCOLS) == detection.PROTOCOLS
