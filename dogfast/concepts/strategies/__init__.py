"""Strategies: ways to choose what to paint. Each is a pure function from the stage's findings to conditions.

A condition: ``cls, class_name, strategy, anchor`` (what people call it), ``text`` [[ref, weight], …], a ref being a prompt or
``{"table", "row"}``, a row of `concepts/tables/` in the prompt's place for a word. And where a strategy has them:
``text_noise`` (deviation of Gaussian noise on the token states), ``start`` [[ID key, weight], …] and ``start_t`` (the latents
of ID images, noised to that timestep), ``guidance_scale`` (instead of the recipe's).
"""

from dogfast.concepts.strategies.boundary import boundary
from dogfast.concepts.strategies.dog import dog
from dogfast.concepts.strategies.findings import Condition, Findings
from dogfast.concepts.strategies.id_control import id_control
from dogfast.concepts.strategies.textual_interpolation import textual_interpolation
from dogfast.concepts.strategies.textual_near_ood import textual_near_ood
from dogfast.concepts.strategies.textual_perturbation import textual_perturbation
from dogfast.concepts.strategies.visual_interpolation import visual_interpolation
from dogfast.concepts.strategies.visual_reconstruction import visual_reconstruction

STRATEGIES = {
    "dog": dog,
    "visual-reconstruction": visual_reconstruction,
    "textual-perturbation": textual_perturbation,
    "visual-interpolation": visual_interpolation,
    "textual-interpolation": textual_interpolation,
    "textual-near-ood": textual_near_ood,
    "boundary": boundary,
    "id-control": id_control,
}

__all__ = ["STRATEGIES", "Condition", "Findings"]
