"""How many outliers are painted, and by which recipe (DOG Eq. 7)."""

import re
from dataclasses import dataclass
from typing import Any

from dogfast.config.option import around_a_word, one_of, option, require
from dogfast.store import check_place

STRATEGIES = (
    "dog",
    "visual-reconstruction",
    "textual-perturbation",
    "visual-interpolation",
    "textual-interpolation",
    "textual-near-ood",
    "boundary",
    "id-control",
)
IMAGE, LATENT = "image", "latent"
OUTPUT_KINDS = (IMAGE, LATENT)
LATENT_SUFFIX = "-latent"
"""Ends the name of every source of latents: one run may hold `dog` and `dog-latent`."""


TIME_UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(budget: str) -> int | None:
    """Seconds of a budget of time, None of a number of images; :class:`UsageError` for what is neither."""
    found = re.fullmatch(r"0*([1-9][0-9]{0,11})([smh]?)", budget)
    require(found is not None, f"--budget {budget!r} is neither a time (90s, 10m, 2h) nor a number of images")
    return int(found[1]) * TIME_UNITS[found[2]] if found[2] else None


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    m: int = option(1000, "outliers per ID class, spread evenly over the class's anchors", identity=False)
    budget: str = option(
        "",
        "time (90s, 10m, 2h) that picks the recipe and lowers m to what fits, or a number of images in all",
        identity=False,
        kept=False,
    )
    strategy: str = option("dog", f"how conditions are chosen: {', '.join(STRATEGIES)} (the ID classes themselves)")
    output_kind: str = option(
        IMAGE, "image, or latent: painted but never decoded (whatever --decoder says), with the ID images' latents beside them"
    )
    recipe: str = option("quality", "solver, steps, guidance and decoder as one name: paper, quality, draft")
    solver: str | None = option(None, "dpm++2m, unipc, ddim, euler, pndm, ddpm (ancestral) or lcm; default: the recipe's")
    steps: int | None = option(None, "solver steps; default: the recipe's")
    guidance_scale: float | None = option(None, "classifier-free guidance; default: the recipe's")
    guidance_start: float | None = option(None, "part of the steps before guidance begins, 0 to 1; default: the recipe's")
    guidance_stop: float | None = option(None, "part of the steps after which guidance ends, 0 to 1; default: the recipe's")
    deepcache: int = option(
        1, "compute the whole UNet at every N-th call only, its outermost layers in between (DeepCache); 1 = always"
    )
    decoder: str | None = option(
        None, "vae, tiny (TAESD) or auto: tiny for images of up to 64 px, where the model has one; default: the recipe's"
    )
    templates: tuple[str, ...] = option(
        (), "prompts around a word, which its images take in turn; may be repeated; default: --prompt"
    )
    negative_prompt: str = option("", "what guidance leads away from; default: the empty prompt")
    reject_id: bool = option(False, "paint again what CLIP finds nearer to an ID class's name than to its own word")
    resolution: int | None = option(None, "painted side in pixels; default: the model's own")
    samples_per_shard: int = option(500, "outliers in one tar")
    store: str = option(
        "",
        "folder or URL (s3://bucket/path, or any other of fsspec) that holds the outliers; default: the run's",
        identity=False,
        kept=False,
    )
    ray: str = option("", "paint on a Ray cluster: local, auto (the running one) or its address", identity=False, kept=False)
    workers: int = option(0, "painters on Ray; 0 = one a GPU, or one a machine without", identity=False, kept=False)
    rows: int = option(0, "images painted together; 0 = chosen for the machine", identity=False)
    seed: int = option(0, "seed of the outliers")

    def __post_init__(self) -> None:
        require(self.m >= 1, f"--m {self.m} must be at least 1")
        if self.budget:
            seconds_of(self.budget)
            require(not self.ray or self.workers > 0, "--budget on Ray needs --workers, to know how many paint")
        one_of(self.strategy, STRATEGIES, "--strategy")
        one_of(self.output_kind, OUTPUT_KINDS, "--output-kind")
        for template in self.templates:
            around_a_word(template, "--templates")
        require(len(set(self.templates)) == len(self.templates), "--templates: one of them stands twice; its images would too")
        require(self.steps is None or 2 <= self.steps <= 1000, f"--steps {self.steps} is out of range; choose 2 to 1000")
        require(self.guidance_scale is None or self.guidance_scale >= 0, "--guidance-scale must not be negative")
        for name in ("guidance_start", "guidance_stop"):
            value = getattr(self, name)
            require(value is None or 0 <= value <= 1, f"--{name.replace('_', '-')} {value} is out of range; choose 0 to 1")
        require(self.deepcache >= 1, f"--deepcache {self.deepcache} must be at least 1")
        require(
            self.resolution is None or (8 <= self.resolution <= 4096 and self.resolution % 8 == 0),
            f"--resolution {self.resolution} is out of range; choose a multiple of 8, 8 to 4096",
        )
        require(1 <= self.samples_per_shard <= 10_000, "--samples-per-shard must lie between 1 and 10000")
        check_place(self.store, "--store")
        require(self.rows >= 0, "--rows must not be negative")
        require(self.workers >= 0, "--workers must not be negative")
        require(bool(self.ray) or not self.workers, "--workers counts painters on Ray; give --ray, or use `accelerate launch`")
        require(0 <= self.seed < 2**53, "--seed must lie between 0 and 2^53")

    @property
    def source(self) -> str:
        """What the outliers are called in a run: its folders under `plan/` and `outliers/`."""
        return self.strategy + (LATENT_SUFFIX if self.output_kind == LATENT else "")


def fields_of(source: str) -> dict[str, Any]:
    """The fields that name ``source``; of latents, with what alone can paint them."""
    if source.endswith(LATENT_SUFFIX):
        return {"strategy": source.removesuffix(LATENT_SUFFIX), "output_kind": LATENT, "reject_id": False}
    return {"strategy": source, "output_kind": IMAGE}
