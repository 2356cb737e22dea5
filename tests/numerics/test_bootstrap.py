"""The paired bootstrap: its point estimate, its interval, and when it decides."""

import numpy as np
import pytest

from dogfast.errors import DataError
from dogfast.numerics.bootstrap import Difference, fpr95_draws, paired_difference
from dogfast.numerics.metrics import fpr95

RNG = np.random.default_rng(0)
ID = RNG.normal(2, 1, 400)
OOD = RNG.normal(0, 1, 300)


def test_the_draw_of_every_image_once_is_the_metric_itself():
    once = fpr95_draws(ID, OOD, np.arange(400)[None], np.arange(300)[None])
    assert once == [fpr95(ID, OOD)]


def test_every_draw_is_the_metric_of_the_resampled_sets():
    id_rows, ood_rows = RNG.integers(400, size=(5, 400)), RNG.integers(300, size=(5, 300))
    wanted = [fpr95(ID[a], OOD[b]) for a, b in zip(id_rows, ood_rows)]
    assert fpr95_draws(ID, OOD, id_rows, ood_rows).tolist() == wanted


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
