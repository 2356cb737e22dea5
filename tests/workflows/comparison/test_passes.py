"""Methods from scratch are given the images of the starting classifier and of a tuning."""

import pytest

from dogfast.config import RunConfig
from dogfast.config.training import OBJECTIVES
from dogfast.workflows.comparison.passes import at_equal_passes, passes_given, passes_of
from dogfast.workflows.comparison.settings import comparison_preset

FRESH = ("atom", "poem", "vos", "npos", "csi", "confgan", "supcon")


def trained(objective, base=None, **training):
    return (base or comparison_preset("shapes")).with_values({"training": {"objective": objective} | training}, "test")


@pytest.mark.parametrize("objective", FRESH)
def test_methods_from_scratch_see_as_many_images(objective):
    config = at_equal_passes(trained(objective), 1000)
    given, one = passes_given(trained(objective), 1000), passes_of(trained(objective, pretrain_epochs=1), 1000)
    assert abs(passes_of(config, 1000) - given) <= max(one / 2, one - given), "whole epochs, and at least one"


@pytest.mark.parametrize("objective", sorted(set(OBJECTIVES) - set(FRESH)))
def test_the_start_and_tunings_of_it_stay_as_they_are(objective):
    assert at_equal_passes(trained(objective), 1000) == trained(objective)


def test_without_a_limit_every_method_trains_as_its_paper_says():
    for objective in FRESH:
        config = trained(objective, RunConfig())
        assert at_equal_passes(config, 1000) == config


def test_given_weights_are_tuned_for_as_long_as_a_tuning_is():
    config = trained("vos", RunConfig(), weights="file", pretrain_epochs=0, epochs=4)
    assert passes_given(config, 900) == 4 * 900 * (1 + 256 / 128)
    assert at_equal_passes(config, 900).training.pretrain_epochs == 12


def test_every_view_outlier_and_attack_counts():
    plain = {"pretrain_epochs": 1, "epochs": 1, "batch": 32, "ood_batch": 64, "id_synthetic": 0.0}
    seen = {name: passes_of(trained(name, RunConfig(), **plain), 100) for name in OBJECTIVES}
    assert (seen["ce"], seen["dog"], seen["csi"], seen["supcon"], seen["poem"]) == (100, 300, 800, 200, 300)
    assert seen["atom"] == 100 * (1 + 2 + 5), "half of two outliers an ID image, attacked in five steps"
    harmless = trained("atom", RunConfig(), **plain).with_values({"objectives": {"atom_epsilon": 0.0}}, "test")
    assert passes_of(harmless, 100) == 300
    assert passes_of(trained("dog", RunConfig(), **(plain | {"id_synthetic": 0.5})), 100) == 600
