"""Where a training's outliers come from: a source of the run, a folder of shards, or a procedural set."""

from __future__ import annotations

from pathlib import Path

import torch

from dogfast.data.catalogue import IdData, paint
from dogfast.data.codec import pass_through
from dogfast.data.splits import is_validation_word
from dogfast.errors import DataError
from dogfast.run import Run, digest, is_run
from dogfast.shards.reader import read_records
from dogfast.shards.selection import load_selected

PROCEDURAL = ("noise", "renders")
"""Sources that need no shards; ``renders``, the true pictures of the words of `shapes`, are its generator's ceiling."""


def shards_of(run: Run, outliers: str) -> Path:
    """The folder of shards that ``--outliers`` names: a source of ``run``, a folder of tars and records, or another run."""
    known = sorted(p.name for p in run.outliers("").glob("*") if p.is_dir())
    if outliers in known:
        return run.outliers(outliers)
    given = Path(outliers)
    if is_run(given):
        given = Run(given).outliers("dog")
    if (given / "records").is_dir():
        return given
    raise DataError(
        f"--outliers {outliers!r} is neither a source of {run.root} ({', '.join(known) or 'none yet'}), {' or '.join(PROCEDURAL)}, nor a folder of shards"
    )


def source_digest(run: Run, outliers: str) -> str:
    """What the outliers are, for the identity of a training."""
    if outliers in PROCEDURAL:
        return outliers
    return digest([record["sha256"] for record in read_records(shards_of(run, outliers))])[:16]


def training_outliers(run: Run, outliers: str, data: IdData, image_px: int) -> torch.Tensor:
    """Outliers uint8 (k, 3, H, W) in the ID codec; those of validation words are left out.

    A procedural source paints as many images as there are ID ones.
    """
    if outliers in PROCEDURAL:
        painted = paint(outliers, "train", len(data.train), image_px)
        return pass_through(data.codec, painted.images, painted.keys)
    folder = shards_of(run, outliers)
    found = load_selected(folder, image_px, data.codec, lambda facts: not is_validation_word(facts["anchor"]))
    if not len(found):
        raise DataError(f"{folder}: every outlier is of a validation word; raise --m or widen the anchors")
    return found.images
