"""Recipes: solver, steps and guidance under one name; every field can be overridden."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.config.option import one_of
from dogfast.config.synthesis import SynthesisConfig
from dogfast.diffusion.sampler import Guidance


@dataclass(frozen=True)
class Recipe:
    name: str
    solver: str
    steps: int
    guidance: Guidance


RECIPES = {
    "quality": Recipe("quality", "dpm++2m", 20, Guidance(scale=4.0, start=0.0, stop=0.7)),
}


def resolve_recipe(config: SynthesisConfig) -> Recipe:
    """The named recipe with the fields that ``config`` overrides; :class:`UsageError` lists the known names."""
    one_of(config.recipe, tuple(RECIPES), "--recipe")
    base = RECIPES[config.recipe]
    guidance = Guidance(
        _given(config.guidance_scale, base.guidance.scale),
        _given(config.guidance_start, base.guidance.start),
        _given(config.guidance_stop, base.guidance.stop),
    )
    return Recipe(base.name, base.solver, _given(config.steps, base.steps), guidance)


def _given(value, default):
    return default if value is None else value
