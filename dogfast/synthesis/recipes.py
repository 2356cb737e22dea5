"""Recipes: solver, steps, guidance and decoder under one name; every field can be overridden."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.config.option import one_of
from dogfast.config.synthesis import SynthesisConfig
from dogfast.diffusion.guidance import Guidance
from dogfast.diffusion.solvers import SOLVERS
from dogfast.environment import Choice

DECODERS = ("auto", "vae", "tiny")
NO_DECODER = Choice("none", "latents are not decoded")
TINY_ENOUGH_PX = 64


@dataclass(frozen=True)
class Recipe:
    """``decoder``: the full VAE, the tiny one, by the size that is asked for (`choose_decoder`), or none.
    ``deepcache``: the whole UNet is computed at every so many calls of a batch.
    """

    name: str
    solver: str
    steps: int
    guidance: Guidance
    decoder: str = "auto"
    negative_prompt: str = ""
    deepcache: int = 1


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("paper", "pndm", 50, Guidance(scale=7.5), decoder="vae"),
        Recipe("quality", "dpm++2m", 20, Guidance(scale=4.0)),
        Recipe("draft", "lcm", 4, Guidance(scale=1.0)),
    )
}
"""``paper``: Stable Diffusion v1.5 as it was published. ``quality`` guides every step: without guidance in the second half, where it
hardly changes the picture (Castillo et al. 2023, Adaptive Guidance), outliers teach less of photographs (benchmarks/proof/gate.py).
``draft`` needs a model distilled for few steps (LCM)."""


def resolve_recipe(config: SynthesisConfig) -> Recipe:
    """The named recipe with the fields that ``config`` overrides; :class:`UsageError` lists the known names."""
    one_of(config.recipe, tuple(RECIPES), "--recipe")
    base = RECIPES[config.recipe]
    guidance = Guidance(
        _given(config.guidance_scale, base.guidance.scale),
        _given(config.guidance_start, base.guidance.start),
        _given(config.guidance_stop, base.guidance.stop),
    )
    solver, decoder = _given(config.solver, base.solver), _given(config.decoder, base.decoder)
    one_of(solver, tuple(SOLVERS), "--solver")
    one_of(decoder, DECODERS, "--decoder")
    steps = _given(config.steps, base.steps)
    return Recipe(base.name, solver, steps, guidance, decoder, config.negative_prompt, config.deepcache)


def choose_decoder(wanted: str, image_px: int, has_tiny: bool) -> Choice[str]:
    """The VAE or the tiny decoder: what is asked for, else the tiny one where its loss of detail cannot be seen."""
    if wanted != "auto":
        return Choice(wanted, "asked for by --decoder or the recipe")
    if not has_tiny:
        return Choice("vae", "the model has no tiny decoder")
    if image_px > TINY_ENOUGH_PX:
        return Choice("vae", f"images of {image_px} px show more than the tiny decoder gives")
    return Choice("tiny", f"images of {image_px} px do not show what it leaves out")


def _given(value, default):
    return default if value is None else value
