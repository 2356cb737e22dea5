"""Recipes and what overrides them."""

import pytest

from dogfast.config.synthesis import SynthesisConfig
from dogfast.errors import UsageError
from dogfast.synthesis.recipes import RECIPES, resolve_recipe


def test_a_recipe_is_what_its_name_says_when_nothing_is_overridden():
    for name, recipe in RECIPES.items():
        assert resolve_recipe(SynthesisConfig(recipe=name)) == recipe and recipe.name == name


def test_every_field_can_be_overridden_also_by_zero():
    recipe = resolve_recipe(SynthesisConfig(steps=7, guidance_scale=0.0, guidance_start=0.25, guidance_stop=0.0))
    assert (recipe.steps, recipe.guidance.scale, recipe.guidance.start, recipe.guidance.stop) == (7, 0.0, 0.25, 0.0)
    assert recipe.solver == RECIPES["quality"].solver


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"--recipe 'fast' is unknown; choose one of: .*quality"):
        resolve_recipe(SynthesisConfig(recipe="fast"))
