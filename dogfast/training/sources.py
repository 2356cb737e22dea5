"""Where a training's outliers come from: a source of the run, a folder of shards, or a procedural set."""

from __future__ import annotations

import numpy as np
import torch

from dogfast.config import RunConfig
from dogfast.config.synthesis import LATENT_SUFFIX, STRATEGIES
from dogfast.config.training import TrainingConfig
from dogfast.data import shapes
from dogfast.data.catalogue import IdData, paint
from dogfast.data.codec import pass_through
from dogfast.data.splits import is_validation_outlier
from dogfast.errors import DataError
from dogfast.run import Run, digest, is_run
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import Outliers, read_records
from dogfast.shards.selection import load_selected
from dogfast.store import Place, open_place
from dogfast.training.batches import Held
from dogfast.training.objectives import OBJECTIVES

NOISE, RENDERS = "noise", "renders"
PROCEDURAL = (NOISE, RENDERS)
"""Sources without shards of their own. ``renders`` are true pictures of the words that `dog` painted, one an outlier of
`dog`: what a perfect generator of the `shapes` world would have given."""
RENDERED_SOURCE = "dog"


def shards_of(run: Run, outliers: str) -> Place:
    """Where the shards lie that ``--outliers`` names: a source of ``run``, a folder or URL of tars and records, or another run."""
    known = sorted(p.name for p in run.store.glob("*") if p.is_dir())
    if outliers in known:
        return run.outliers(outliers)
    given = open_place(outliers, "--outliers", run.say)
    if is_run(given):
        given = Run(given, run.say).outliers("dog")
    if (given / "records").is_dir():
        return given
    raise DataError(
        f"--outliers {outliers!r} is neither a source of {run.root} ({', '.join(known) or 'none yet'}), {' or '.join(PROCEDURAL)}, nor a folder of shards"
    )


def source_digest(run: Run, outliers: str) -> str:
    """What the outliers are, for the identity of a training."""
    if outliers == NOISE:
        return NOISE
    if outliers == RENDERS:
        return f"{RENDERS} of {source_digest(run, RENDERED_SOURCE)}"
    return digest([record["sha256"] for record in read_records(shards_of(run, outliers))])[:16]


def source_of(config: TrainingConfig) -> str:
    """The source that ``config`` learns from: where latents are wanted, those beside the images it names."""
    latents = OBJECTIVES[config.objective].brings == "latents"
    return config.outliers + LATENT_SUFFIX if latents and config.outliers in STRATEGIES else config.outliers


def training_outliers(config: RunConfig, run: Run, data: IdData) -> Held:
    """Outlier images uint8 (k, 3, H, W) in the ID codec; those of validation words are left out.

    ``noise`` is as many images as there are ID ones. Raises DataError for shards of ID-class images.
    """
    outliers, image_px, seed = config.training.outliers, config.data.image_px, config.training.train_seed
    if outliers == NOISE:
        painted = paint(NOISE, "train", len(data.train), image_px)
        return Held(pass_through(data.codec, painted.images, painted.keys), seed, "outlier order")
    folder = shards_of(run, RENDERED_SOURCE if outliers == RENDERS else outliers)
    found = load_selected(folder, image_px, data.codec, lambda facts: not is_validation_outlier(facts))
    if not len(found):
        raise DataError(f"{folder}: every outlier is of a validation word; raise --m or widen the anchors")
    if any(facts["strategy"] == ID_CONTROL for facts in found.facts):
        raise DataError(f"{folder} holds images of the ID classes, no outliers; mix them in with --id-synthetic")
    return Held(_rendered(found, data, image_px) if outliers == RENDERS else found.images, seed, "outlier order")


def _rendered(painted: Outliers, data: IdData, image_px: int) -> torch.Tensor:
    """A true picture of the word of each of ``painted``."""
    words = [facts["anchor"] for facts in painted.facts]
    unknown = sorted(set(words) - set(shapes.FIGURES))
    if unknown:
        raise DataError(f"--outliers {RENDERS}: there is no true picture of {unknown[0]!r}; only words of shapes have one")
    images = np.stack([shapes.render(word, RENDERS, 0, index, image_px) for index, word in enumerate(words)])
    keys = tuple(f"{RENDERS}/{index}" for index in range(len(words)))
    return pass_through(data.codec, torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), keys)
