"""What every shard of one source shares: conditions, generator, recipe. A pure function of the run and its configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.config.option import identity, require
from dogfast.config.synthesis import LATENT, SynthesisConfig
from dogfast.diffusion.load import SAFETY_CHECKER, TINY_DECODER, Pipeline, choose_model
from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers import SOLVERS
from dogfast.environment import Choice
from dogfast.run import Run, digest
from dogfast.store import Place
from dogfast.synthesis.conditions import read_conditions
from dogfast.synthesis.recipes import NO_DECODER, Recipe, choose_decoder, resolve_recipe
from dogfast.synthesis.templates import require_words, with_templates


@dataclass(frozen=True)
class Job:
    """``decoder`` is what the recipe decodes with, and why."""

    config: RunConfig
    run: Run
    conditions: list[dict[str, Any]]
    pipeline: Pipeline
    recipe: Recipe
    decoder: Choice[str]

    @property
    def source(self) -> str:
        return self.config.synthesis.source

    @property
    def stage(self) -> str:
        """What `run.json` knows it as."""
        return f"synthesis/{self.source}"

    @property
    def folder(self) -> Place:
        return self.run.outliers(self.source)

    @property
    def class_of(self) -> list[int]:
        """The class of every condition."""
        return [condition["cls"] for condition in self.conditions]

    @property
    def latents(self) -> bool:
        """Whether what is painted stays latents."""
        return self.config.synthesis.output_kind == LATENT

    @property
    def resize(self) -> str:
        """How painted images were brought to the side that is stored."""
        side = self.config.data.image_px
        painted = self.config.synthesis.resolution or self.pipeline.native_px
        return "none" if self.latents or side == painted else f"bicubic-antialias {painted}->{side}"


def open_job(config: RunConfig, run: Run) -> Job:
    """Everything checked that can be before networks are loaded. Raises DataError, UsageError or EnvironmentFault."""
    conditions = read_job_conditions(config.synthesis, run)
    pipeline = Pipeline(config.model, choose_model(config.model.model, config.data.classes).value)
    recipe = recipe_for(config.synthesis, conditions, len(pipeline.alphas_cumprod))
    if config.synthesis.output_kind == LATENT:
        decoder = NO_DECODER
    else:
        decoder = choose_decoder(recipe.decoder, config.data.image_px, pipeline.has_tiny_decoder)
    recipe = replace(recipe, decoder=decoder.value)
    schedule_of(recipe, conditions, pipeline)
    side_in_latents(config.synthesis.resolution, pipeline)
    require_outer_layers(recipe.deepcache, pipeline)
    if config.synthesis.reject_id:
        require_words("--reject-id", config.synthesis.strategy)
    require_pictures(config)
    return Job(config, run, conditions, pipeline, recipe, decoder)


def read_job_conditions(config: SynthesisConfig, run: Run) -> list[dict[str, Any]]:
    """What is painted: the strategy's conditions on disk, in every one of --templates. Raises DataError or UsageError."""
    if config.templates:
        require_words("--templates", config.strategy)
    return with_templates(read_conditions(run.conditions, config.strategy), config.templates)


def require_pictures(config: RunConfig) -> None:
    """Raise :class:`UsageError` where what looks at pictures is to check latents."""
    if config.synthesis.output_kind == LATENT:
        refused = "{} looks at pictures, and --output-kind latent paints none; give {}"
        require(not config.synthesis.reject_id, refused.format("--reject-id", "--no-reject-id"))
        require(not config.model.safety_checker, refused.format("--safety-checker", "--safety-checker ''"))


def recipe_for(config: SynthesisConfig, conditions: list[dict[str, Any]], timesteps: int) -> Recipe:
    """The recipe of ``config`` as the conditions' strategy bends it: its guidance, unless a flag names another, and the share
    of the steps that is left where painting starts at ID images."""
    recipe, own, start_t = resolve_recipe(config), conditions[0].get("guidance_scale"), conditions[0].get("start_t")
    if own is not None and config.guidance_scale is None:
        recipe = replace(recipe, guidance=replace(recipe.guidance, scale=float(own)))
    return recipe if start_t is None else replace(recipe, steps=max(1, round(recipe.steps * (start_t + 1) / timesteps)))


def schedule_of(recipe: Recipe, conditions: list[dict[str, Any]], pipeline: Pipeline) -> Schedule:
    """Where the recipe's solver goes; :class:`UsageError` for more --steps than it has timesteps."""
    return SOLVERS[recipe.solver].spacing(pipeline.alphas_cumprod, recipe.steps, conditions[0].get("start_t"))


def side_in_latents(wanted: int | None, pipeline: Pipeline) -> int:
    """Side of the latents that are painted; :class:`UsageError` for a --resolution the decoder cannot give."""
    unit = pipeline.downscale
    require(wanted is None or wanted % unit == 0, f"--resolution {wanted} must be a multiple of {unit}, this model's unit")
    return (wanted or pipeline.native_px) // unit


def require_outer_layers(deepcache: int, pipeline: Pipeline) -> None:
    """Raise :class:`UsageError` for a --deepcache that the generator's UNet does not allow."""
    allowed = deepcache == 1 or pipeline.feature_channels > 0
    require(
        allowed, f"--deepcache {deepcache}: the outermost blocks of --model {pipeline.name} are of another kind; leave it out"
    )


def model_name(pipeline: Pipeline) -> str:
    """The generator as files name it: a folder by its last part, for no path belongs into a data set."""
    return Path(pipeline.place).resolve().name if Path(pipeline.place).is_dir() else pipeline.name


def job_identity(job: Job) -> dict[str, object]:
    """The fields and inputs that decide every byte of the shards."""
    recipe, pipeline = job.recipe, job.pipeline
    return {
        **identity(job.config.synthesis),
        "solver": recipe.solver,
        "decoder": recipe.decoder,
        "tiny_decoder": pipeline.weights(TINY_DECODER) if recipe.decoder == "tiny" else "",
        "safety_checker": pipeline.weights(SAFETY_CHECKER) if job.config.model.safety_checker else "",
        "steps": recipe.steps,
        "guidance_scale": recipe.guidance.scale,
        "guidance_start": recipe.guidance.start,
        "guidance_stop": recipe.guidance.stop,
        "image_px": job.config.data.image_px,
        "precision": job.config.model.precision,
        "model": model_name(pipeline),
        "model_revision": pipeline.revision,
        "conditions": digest(job.conditions)[:16],
        **({"start_noise": "of the first timestep"} if "start_t" in job.conditions[0] else {}),
    }
