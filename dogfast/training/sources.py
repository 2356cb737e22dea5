"""Where a training's outliers come from: a source of the run, a folder of shards or of image files, or a procedural set."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from dogfast.config import RunConfig
from dogfast.config.synthesis import LATENT_SUFFIX, STRATEGIES
from dogfast.config.training import TrainingConfig
from dogfast.data import shapes
from dogfast.data.catalogue import IdData, paint
from dogfast.data.codec import pass_through
from dogfast.data.files import list_image_files
from dogfast.data.pictures import image_files, unlabelled
from dogfast.data.splits import may_train
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.processes import told
from dogfast.rounds import Round, read_round
from dogfast.run import Run, digest, is_run
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.id_latents import read_id_latents
from dogfast.shards.latents import load_latents
from dogfast.shards.reader import Outliers, count_samples, not_latents, read_records, require_images, require_latents
from dogfast.shards.selection import load_selected
from dogfast.store import Place, open_place
from dogfast.training.batches import Held
from dogfast.training.names import source_name
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.parts import Belongs, ImageFiles, Shards, Wait
from dogfast.training.ranks import ALONE, Ranks
from dogfast.training.streamed import Streamed

T = TypeVar("T")

NOISE, RENDERS = "noise", "renders"
PROCEDURAL = (NOISE, RENDERS)
"""Sources without shards of their own. ``renders`` are true pictures of the words that `dog` painted, one an outlier of
`dog`: what a perfect generator of the `shapes` world would have given."""
RENDERED_SOURCE = "dog"
POLL_S = 1.0
"""Between two looks for the first shard of a source that is followed."""


def shards_of(run: Run, outliers: str) -> Place:
    """Where the shards lie that ``--outliers`` names: a source of ``run``, a folder or URL of tars and records, or another run."""
    known = _known(run)
    if outliers in known:
        return run.outliers(outliers)
    given = open_place(outliers, "--outliers", run.say)
    if is_run(given):
        given = Run(given, run.say).outliers("dog")
    if (given / "records").is_dir():
        return given
    raise DataError(
        f"--outliers {outliers!r} is neither a source of {run.root} ({', '.join(known) or 'none yet'}), {' or '.join(PROCEDURAL)}, "
        "nor a folder of shards, nor a folder or tar of images"
    )


def _known(run: Run) -> list[str]:
    return sorted(place.name for place in run.store.glob("*") if place.is_dir())


def images_at(run: Run, outliers: str) -> Path | None:
    """The folder or tar of image files that ``--outliers`` names; None where it names anything else."""
    path = Path(outliers)
    is_tar, is_folder = path.suffix == ".tar" and path.is_file(), path.is_dir() and not (path / "records").is_dir()
    if not outliers or outliers in (*PROCEDURAL, *STRATEGIES, *_known(run)) or is_run(path):
        return None
    return path if is_tar or is_folder else None


def outlier_fields(config: TrainingConfig, run: Run, shards: list[str] | None = None) -> dict[str, str]:
    """What the outliers are, for the identity of a training; of ``shards`` alone where it followed, else of those of its round."""
    found = _round(config, run)
    fields = {"outliers": source_digest(run, source_of(config), found.tars() if found else shards)}
    return fields | {"dropped": digest(sorted(found.dropped))[:16]} if found and found.dropped else fields


def source_digest(run: Run, outliers: str, shards: list[str] | None = None) -> str:
    """What the outliers are: of all shards, or of ``shards`` alone; of files, names and sizes."""
    if outliers == NOISE:
        return NOISE
    if outliers == RENDERS:
        return f"{RENDERS} of {source_digest(run, RENDERED_SOURCE, shards)}"
    images = images_at(run, outliers)
    if images is not None:
        return digest([[file.key, file.bytes] for file in list_image_files(images)])[:16]
    records = read_records(shards_of(run, outliers))
    chosen = {record["tar"] for record in records} if shards is None else set(shards)
    return digest([record["sha256"] for record in records if record["tar"] in chosen])[:16]


def source_of(config: TrainingConfig) -> str:
    """The source that ``config`` learns from: where latents are wanted, those beside the images it names."""
    named = config.outliers.removesuffix(LATENT_SUFFIX)
    return named + LATENT_SUFFIX if _wants_latents(config) and named in STRATEGIES else config.outliers


def painted_source(config: TrainingConfig) -> str:
    """The source that has to be painted for a training; empty where none has."""
    source = RENDERED_SOURCE if config.outliers == RENDERS else source_of(config)
    wanted = OBJECTIVES[config.objective].brings and source.removesuffix(LATENT_SUFFIX) in STRATEGIES
    return source if wanted else ""


def check_source(config: TrainingConfig, run: Run) -> None:
    """Raise what `training_outliers` would for a source that is not there, or not of the kind that ``config`` learns from.

    Strategies are painted when they are missing.
    """
    source, latents = source_of(config), _wants_latents(config)
    if (source.removesuffix(LATENT_SUFFIX) if latents else source) in STRATEGIES:
        return
    pictures = source in PROCEDURAL or images_at(run, source) is not None
    if latents:
        if pictures:
            raise not_latents(f"--outliers {source}")
        require_latents(shards_of(run, source))
    elif not pictures:
        require_images(shards_of(run, source))


def follows(config: TrainingConfig) -> bool:
    """Whether outliers are taken in while they are painted."""
    return config.follow and bool(OBJECTIVES[config.objective].brings)


def training_outliers(config: RunConfig, run: Run, data: IdData, events: Events, ranks: Ranks = ALONE) -> Held | Streamed:
    """Outlier images uint8 (3, H, W) in the ID codec, or latents float16 (C, h, w) with those of the ID images beside them.

    Of painted ones, those of validation words are left out, and what is not of the training's round of `refine`. Latents are
    held, and taken as they are. What takes up more than ``--window-mb``, or is followed, is streamed. ``noise`` is as many images as there are ID ones;
    image files all train, for they validate nothing. Raises DataError for shards of ID-class images, and for images where
    latents are learned from, or the reverse.
    """
    if _wants_latents(config.training):
        return _latents(config.training, run, data)
    settings, image_px = config.training, config.data.image_px
    window_bytes, order = settings.window_mb * 2**20, (settings.train_seed, "outlier order")
    if settings.outliers == NOISE:
        painted = paint(NOISE, "train", len(data.train), image_px)
        return Held(pass_through(data.codec, painted.images, painted.keys), *order)
    if settings.follow:
        place, wait = partial(_followed, run, settings.outliers), _patience(events)
        shards = Shards(place, image_px, data.codec, wait, _agreed(ranks))
        return Streamed(shards, image_px, window_bytes, *order)

    def fits(images: int) -> bool:
        return 3 * image_px**2 * images <= window_bytes

    path = images_at(run, settings.outliers)
    if path is not None:
        files = list_image_files(path)
        if fits(len(files)):
            return Held(_held_files(path, data, image_px), *order)
        return Streamed(ImageFiles(path, files, source_name(path), image_px, data.codec), image_px, window_bytes, *order)
    folder = shards_of(run, RENDERED_SOURCE if settings.outliers == RENDERS else settings.outliers)
    belongs = learnable(settings, run)
    if settings.outliers != RENDERS and not fits(count_samples(folder)):
        return Streamed(Shards(lambda: folder, image_px, data.codec, belongs=belongs), image_px, window_bytes, *order)
    found = load_selected(folder, image_px, data.codec, belongs)
    _refuse_unfit(folder, found.facts)
    return Held(_rendered(found, data, image_px) if settings.outliers == RENDERS else found.images, *order)


def learnable(config: TrainingConfig, run: Run) -> Belongs:
    """Which painted outliers a training learns from, by their facts: of no validation word, and of its round of `refine`."""
    found = _round(config, run)
    return (lambda facts: may_train(facts) and found.holds(facts)) if found else may_train


def _round(config: TrainingConfig, run: Run) -> Round | None:
    """The round that ``config`` means; None where all that is painted is learned from."""
    return read_round(run, painted_source(config), config.round) if config.round else None


def _held_files(path: Path, data: IdData, image_px: int) -> torch.Tensor:
    return unlabelled(image_files(path), image_px, codec=data.codec, name=source_name(path)).images


def _followed(run: Run, outliers: str) -> Place:
    """Where the shards lie, or will: the painting process may not have begun its source yet."""
    return run.outliers(outliers) if outliers in STRATEGIES else shards_of(run, outliers)


def _patience(events: Events) -> Wait:
    """Says once what is waited for."""
    said = set()

    def wait(missing: str) -> None:
        if missing not in said:
            events.say(f"waiting for another process to paint: {missing}")
        said.add(missing)
        time.sleep(POLL_S)

    return wait


def _agreed(ranks: Ranks) -> Callable[[Callable[[], T]], T]:
    """What the first process finds is what every process takes for found."""
    if ranks.count == 1:
        return lambda find: find()
    return lambda find: told(find() if ranks.index == 0 else None)


def _wants_latents(config: TrainingConfig) -> bool:
    return OBJECTIVES[config.objective].brings == "latents"


def _latents(config: TrainingConfig, run: Run, data: IdData) -> Held:
    check_source(config, run)
    folder = shards_of(run, source_of(config))
    found = load_latents(folder, learnable(config, run))
    _refuse_unfit(folder, found.facts)
    beside = read_id_latents(run, data.train, found)
    return Held(found.values, config.train_seed, "outlier order", id_latents=beside)


def _refuse_unfit(folder: Place, facts: list[dict[str, Any]]) -> None:
    """Raise DataError where none of a folder's outliers may train, or they are no outliers."""
    if not facts:
        raise DataError(f"{folder}: every outlier is of a validation word; raise --m or widen the anchors")
    if any(of_one["strategy"] == ID_CONTROL for of_one in facts):
        raise DataError(f"{folder} holds images of the ID classes, no outliers; mix them in with --id-synthetic")


def _rendered(painted: Outliers, data: IdData, image_px: int) -> torch.Tensor:
    """A true picture of the word of each of ``painted``."""
    words = [facts["anchor"] for facts in painted.facts]
    unknown = sorted(set(words) - set(shapes.FIGURES))
    if unknown:
        raise DataError(f"--outliers {RENDERS}: there is no true picture of {unknown[0]!r}; only words of shapes have one")
    images = np.stack([shapes.render(word, RENDERS, 0, index, image_px) for index, word in enumerate(words)])
    keys = tuple(f"{RENDERS}/{index}" for index in range(len(words)))
    return pass_through(data.codec, torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), keys)
