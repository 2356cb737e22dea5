"""Which rate a method is tuned at: the configuration's, else the class set's, else its own."""

import pytest

from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.config.presets import preset
from dogfast.training.regimes import REGIMES, regime_of


def lr_of(objective, classes, **training):
    return regime_of(TrainingConfig(objective=objective, **training), ObjectivesConfig(), classes).lr


@pytest.mark.parametrize("objective, lr", [("oe", 0.05), ("energy-oe", 0.05), ("doe", 0.05), ("dog", 0.05), ("oal", 0.005)])
def test_shapes_are_tuned_fast_but_by_oal(objective, lr):
    assert lr_of(objective, "shapes") == lr
    asked = preset("shapes").with_values({"training": {"objective": objective}}, "test")
    assert regime_of(asked.training, asked.objectives, "shapes").lr == lr, "the preset says nothing else"
    assert lr_of(objective, "shapes", lr=0.3) == 0.3
    assert lr_of(objective, "cifar10") == REGIMES[objective].lr
