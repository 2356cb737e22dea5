"""Recipes and what overrides them."""

import pytest

from dogfast.config.synthesis import SynthesisConfig
from dogfast.errors import UsageError
from dogfast.synthesis.recipes import RECIPES, choose_decoder, resolve_recipe


def test_a_recipe_is_what_its_name_says_when_nothing_is_overridden():
    for name, recipe in RECIPES.items():
        assert resolve_recipe(SynthesisConfig(recipe=name)) == recipe and recipe.name == name


def test_every_field_can_be_overridden_also_by_zero():
    recipe = resolve_recipe(SynthesisConfig(steps=7, guidance_scale=0.0, guidance_start=0.25, guidance_stop=0.0))
    assert (recipe.steps, recipe.guidance.scale, recipe.guidance.start, recipe.guidance.stop) == (7, 0.0, 0.25, 0.0)
    assert recipe.solver == RECIPES["quality"].solver
    recipe = resolve_recipe(SynthesisConfig(recipe="paper", solver="ddpm", decoder="tiny", negative_prompt="blurry"))
    assert (recipe.solver, recipe.decoder, recipe.negative_prompt) == ("ddpm", "tiny", "blurry")
    assert resolve_recipe(SynthesisConfig(recipe="paper", deepcache=3)).deepcache == 3 and recipe.deepcache == 1
    assert (recipe.steps, recipe.guidance.scale) == (50, 7.5), "what is not overridden stays the recipe's"


@pytest.mark.parametrize("flag, field", [("--solver", {"solver": "dpm"}), ("--decoder", {"decoder": "taesd"})])
def test_unknown_parts_of_a_recipe_list_the_known_ones(flag, field):
    with pytest.raises(UsageError, match=rf"{flag} .* is unknown; choose one of: "):
        resolve_recipe(SynthesisConfig(**field))


@pytest.mark.parametrize(
    "wanted, px, has_tiny, chosen",
    [
        ("auto", 32, True, "tiny"),
        ("auto", 64, True, "tiny"),
        ("auto", 65, True, "vae"),
        ("auto", 32, False, "vae"),
        ("vae", 32, True, "vae"),
        ("tiny", 512, True, "tiny"),
        ("tiny", 32, False, "tiny"),
    ],
)
def test_the_tiny_decoder_paints_what_does_not_show_the_difference(wanted, px, has_tiny, chosen):
    choice = choose_decoder(wanted, px, has_tiny)
    assert choice.value == chosen and choice.reason


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"--recipe 'fast' is unknown; choose one of: .*quality"):
        resolve_recipe(SynthesisConfig(recipe="fast"))
