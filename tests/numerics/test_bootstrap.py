"""The bootstraps: every draw against the metric of the images drawn, their intervals, and when a difference decides."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from dogfast.errors import DataError
from dogfast.numerics.bootstrap import (
    Difference,
    Resamples,
    auroc_of,
    fpr95_of,
    intervals,
    paired_difference,
    paired_differences,
)
from dogfast.numerics.metrics import auroc, fpr95

RNG = np.random.default_rng(0)
ID = RNG.normal(2, 1, 400)
OOD = RNG.normal(0, 1, 300)
SCORES = st.lists(st.sampled_from([-math.inf, -3.0, 0.0, 0.25, 1.0, 7.0, math.inf]), min_size=1, max_size=30)


def resamples(rows, size):
    """``rows`` (draws, n) of images drawn, as how often each is."""
    return Resamples(np.stack([np.bincount(each, minlength=size) for each in rows], axis=1).astype(np.float32))


def area(known, unknown):
    """AUROC where no scores are equal."""
    return (known[:, None] > unknown).mean()


def drawn(size, draws=7, seed=0):
    return np.random.default_rng([seed, size]).integers(size, size=(draws, size))


# --- measures of resamples --------------------------------------------------------------------------------------
@pytest.mark.parametrize("measure, metric", [(fpr95_of, fpr95), (auroc_of, auroc)])
def test_the_draw_of_every_image_once_is_the_metric_itself(measure, metric):
    once = resamples(np.arange(400)[None], 400), resamples(np.arange(300)[None], 300)
    assert measure(ID, OOD)(*once) == pytest.approx([metric(ID, OOD)], abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(SCORES, SCORES)
@example([1.0], [1.0])
@example([math.inf] * 21, [-math.inf])
def test_every_draw_is_the_metric_of_the_images_drawn(id_scores, ood_scores):
    known, unknown = np.array(id_scores), np.array(ood_scores)
    id_rows, ood_rows = drawn(len(known)), drawn(len(unknown), seed=1)
    found = fpr95_of(known, unknown)(resamples(id_rows, len(known)), resamples(ood_rows, len(unknown)))
    assert found == pytest.approx([fpr95(known[a], unknown[b]) for a, b in zip(id_rows, ood_rows)], abs=1e-12)
    known, unknown = np.sort(known), np.sort(unknown)
    found = auroc_of(known, unknown)(resamples(id_rows, len(known)), resamples(ood_rows, len(unknown)))
    assert found == pytest.approx([auroc(known[a], unknown[b]) for a, b in zip(id_rows, ood_rows)], abs=1e-6)


def test_draws_that_miss_all_low_images_still_have_their_threshold():
    """More images than usual have to be looked at before a draw has met 5 %."""
    known, rows = np.arange(400.0), np.stack([np.full(400, 399), np.full(400, 200), drawn(400, 1)[0]])
    found = fpr95_of(known, np.arange(400.0))(resamples(rows, 400), resamples(drawn(400, 3), 400))
    assert found == pytest.approx([fpr95(known[a], np.arange(400.0)[b]) for a, b in zip(rows, drawn(400, 3))])


# --- one classifier ---------------------------------------------------------------------------------------------
def test_intervals_are_those_of_a_bootstrap_made_by_hand():
    (found,) = intervals([(ID, OOD)], draws=3000)
    rng = np.random.default_rng(7)
    draws = [(rng.choice(ID, 400), rng.choice(OOD, 300)) for _ in range(3000)]
    for name, metric, tolerance in (("fpr95", fpr95, 0.012), ("auroc", area, 0.002)):
        wanted = np.quantile([metric(*draw) for draw in draws], [0.025, 0.975])
        assert found[name] == pytest.approx(wanted.tolist(), abs=tolerance), name
        assert found[name][0] < metric(ID, OOD) < found[name][1]


def test_the_interval_of_auroc_is_that_of_scipy():
    (found,) = intervals([(ID, OOD)], draws=2000)
    wanted = stats.bootstrap(
        (ID, OOD), area, n_resamples=1000, vectorized=False, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert found["auroc"] == pytest.approx([wanted.low, wanted.high], abs=0.004)


def test_intervals_are_a_function_of_scores_and_seed_whatever_else_is_asked():
    other = (ID + 1, RNG.normal(0, 1, 77))
    alone, among = intervals([(ID, OOD)], draws=200), intervals([other, (ID, OOD)], draws=200)
    assert alone[0] == among[1]
    assert intervals([(ID, OOD)], draws=200, seed=1) != alone


@pytest.mark.parametrize("known, unknown, fpr, area", [([1.0, 2.0], [0.0], 0.0, 1.0), ([1.0] * 9, [1.0] * 5, 1.0, 0.5)])
def test_intervals_of_perfect_and_constant_scores_have_no_width(known, unknown, fpr, area):
    assert intervals([(np.array(known), np.array(unknown))]) == [{"fpr95": [fpr, fpr], "auroc": [area, area]}]


def test_infinite_scores_have_intervals():
    known, unknown = np.where(ID > 2, math.inf, ID), np.where(OOD < 0, -math.inf, OOD)
    (found,) = intervals([(known, unknown)], draws=200)
    assert all(0 <= low <= high <= 1 for low, high in found.values())


def test_no_pairs_have_no_intervals():
    assert intervals([]) == []


def test_intervals_refuse_nan():
    with pytest.raises(DataError, match="NaN"):
        intervals([(np.array([1.0, math.nan]), OOD)])


# --- two classifiers --------------------------------------------------------------------------------------------
def test_a_classifier_does_not_differ_from_itself():
    assert paired_difference([(ID, OOD, ID, OOD)]) == Difference(0.0, 0.0, 0.0)
    assert Difference(0.0, 0.0, 0.0).verdict == "undecided"


def test_a_shift_that_is_the_same_for_all_images_changes_nothing():
    assert paired_difference([(ID, OOD, ID * 2 - 7, OOD * 2 - 7)]) == Difference(0.0, 0.0, 0.0)


def test_a_clear_gain_is_better_and_its_mirror_worse():
    gain, loss = paired_difference([(ID, OOD, ID, OOD - 1)]), paired_difference([(ID, OOD - 1, ID, OOD)])
    assert gain.verdict == "better" and gain.value == pytest.approx(fpr95(ID, OOD - 1) - fpr95(ID, OOD))
    assert loss.verdict == "worse" and (loss.value, loss.low, loss.high) == pytest.approx((-gain.value, -gain.high, -gain.low))
    assert gain.low <= gain.value <= gain.high


def test_a_gain_of_one_image_is_undecided():
    ood = OOD.copy()
    ood[OOD.argmax()] = -9
    assert paired_difference([(ID, OOD, ID, ood)]).verdict == "undecided"


def test_several_seeds_are_averaged():
    one, other = (ID, OOD, ID, OOD - 1), (ID, OOD, ID, OOD)
    assert paired_difference([one, other]).value == pytest.approx(paired_difference([one]).value / 2)


def test_nan_is_refused():
    with pytest.raises(DataError, match="NaN"):
        paired_difference([(ID, OOD, ID, np.full(300, np.nan))])


def test_groups_are_judged_as_if_each_were_alone():
    first, second = (ID, OOD, ID, OOD - 1), (ID, OOD, ID + 0.1, OOD[:200])
    together = paired_differences([[first], [first, (ID, OOD, ID, OOD)], [first]], draws=200)
    assert together[0] == together[2] == paired_difference([first], draws=200)
    assert together[1] == paired_difference([first, (ID, OOD, ID, OOD)], draws=200)
    with pytest.raises(AssertionError, match="did not score the same images"):
        paired_difference([second])


def test_the_interval_of_a_difference_is_that_of_a_bootstrap_made_by_hand():
    other_id, other_ood = ID + RNG.normal(0, 0.3, 400), OOD - 0.2 + RNG.normal(0, 0.3, 300)
    found = paired_difference([(ID, OOD, other_id, other_ood)], draws=4000)
    rng, changes = np.random.default_rng(5), []
    for _ in range(4000):
        a, b = rng.integers(400, size=400), rng.integers(300, size=300)
        changes.append(fpr95(other_id[a], other_ood[b]) - fpr95(ID[a], OOD[b]))
    assert [found.low, found.high] == pytest.approx(np.quantile(changes, [0.025, 0.975]).tolist(), abs=0.015)
