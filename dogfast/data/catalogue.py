"""Every data set dogfast knows by name, in-distribution and out: what it is, where it is looked for, how it is read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from dogfast.config.data import DataConfig
from dogfast.data import noises, shapes
from dogfast.data.class_sets import CLASS_SETS, frozen_classes, name_of_folder
from dogfast.data.codec import Codec, Lossless, Sensor, codec_of, pass_through
from dogfast.data.files import (
    SUFFIXES,
    class_names,
    first_image_bytes,
    list_class_folders,
    list_images,
    read_class_folders,
    read_loose_images,
    refuse_single_images,
    some,
)
from dogfast.data.images import ImageSet
from dogfast.data.nouns import folded
from dogfast.data.splits import is_test_key, is_validation_key
from dogfast.errors import DataError, UsageError

DATA_VARIABLE = "DOGFAST_DATA"
SHAPES_TEST_IMAGES = 2000
PAINTED_OOD_IMAGES = 2000

Painter = Callable[[str, int, int], np.ndarray]
"""(split, index, side in pixels) to uint8 (side, side, 3)."""


@dataclass(frozen=True)
class FileSet:
    """A published set of image files: its size and its terms. Its class names are those of `class_sets`."""

    train_images: int
    test_images: int
    origin: str
    licence: str


_IMAGENET = "Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge"
_IMAGENET_TERMS = "images belong to their owners; ImageNet's terms allow non-commercial research"
_CIFAR = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
_CIFAR_TERMS = "no licence stated by its authors; research use is customary"

FILE_SETS: dict[str, FileSet] = {
    "cifar10": FileSet(50_000, 10_000, _CIFAR, _CIFAR_TERMS),
    "cifar100": FileSet(50_000, 10_000, _CIFAR, _CIFAR_TERMS),
    "imagenet": FileSet(1_281_167, 50_000, _IMAGENET, _IMAGENET_TERMS),
    "imagenet-100": FileSet(126_689, 5_000, f"{_IMAGENET}; classes of Tian et al. 2020 (CMC)", _IMAGENET_TERMS),
    "imagenet-200": FileSet(258_951, 10_000, f"{_IMAGENET}; classes of Hendrycks et al. 2021 (ImageNet-R)", _IMAGENET_TERMS),
    "tiny-imagenet": FileSet(100_000, 10_000, f"{_IMAGENET}; Stanford CS231n, 500 images a class at 64 px", _IMAGENET_TERMS),
}


def _word_painter(words: tuple[str, ...]) -> Painter:
    return lambda split, index, side: shapes.render(words[index % len(words)], split, 0, index, side)


PAINTED: dict[str, Painter] = {
    "held-out-shapes": _word_painter(shapes.TEST_WORDS),
    "validation-shapes": _word_painter(shapes.VALIDATION_WORDS),
    "shapes": _word_painter(tuple(shapes.FIGURES)),
    "glyphs": lambda split, index, side: shapes.render_glyph(split, 0, index, side),
    "stripes": lambda split, index, side: shapes.render_stripes(split, 0, index, side),
    "checkers": lambda split, index, side: shapes.render_checkers(split, 0, index, side),
    "gaussian": noises.gaussian,
    "rademacher": noises.rademacher,
    "blobs": noises.blobs,
    "noise": noises.mixed,
}
"""OOD sets that need no files."""

NEAR = frozenset({"held-out-shapes", "validation-shapes"})
"""Sets of the ID data's own kind; all others are far."""

DEFAULT_OOD_OF_SHAPES = ("held-out-shapes", "glyphs", "stripes", "checkers", "noise")
DEFAULT_OOD_OF_FILES = ("gaussian", "rademacher", "blobs", "shapes")


@dataclass(frozen=True)
class IdData:
    """The in-distribution images in three disjoint splits, and the codec they came in."""

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    codec: Codec

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names


# --- in-distribution --------------------------------------------------------------------------------------------
def load_id(config: DataConfig) -> IdData:
    """The images of ``--classes``. Raises :class:`UsageError` for an unknown set, :class:`DataError` for bad or missing files."""
    if config.classes == "shapes":
        return _shapes_id(config)
    train_path, test_path = _locate_id(config)
    splits = 3 if test_path is None else 2
    by_folder = folders_of(config.classes, train_path)
    per_class = _images_per_class(config, len(by_folder), splits)
    everything = read_class_folders(train_path, config.image_px, per_class, by_folder)
    refuse_single_images(everything, str(train_path), splits)
    if test_path is None:
        train, test = _halves(everything, is_test_key, least=2)
    else:
        train, test = everything, read_class_folders(test_path, config.image_px, 0, folders_of(config.classes, test_path))
        if test.class_names != train.class_names:
            raise DataError(f"{test_path} holds other classes than {train_path}; both need the same class folders")
    train, validation = _halves(train, is_validation_key)
    return IdData(train, validation, test, _codec(train_path, everything, config))


def class_names_of(config: DataConfig) -> tuple[str, ...]:
    """The names of ``--classes`` without reading an image. Raises as `load_id` does."""
    if config.classes == "shapes":
        return shapes.ID_WORDS
    if config.classes in CLASS_SETS:
        return tuple(frozen_classes(config.classes))
    path = _locate_id(config)[0]
    return class_names(list(list_class_folders(path)), path)


def known_class_sets() -> tuple[str, ...]:
    return ("shapes", *FILE_SETS)


def _images_per_class(config: DataConfig, classes: int, splits: int) -> int:
    """How many of each class ``--id-images`` leaves (0 = all); :class:`UsageError` where a split would stay empty."""
    if config.id_images and config.id_images < splits * classes:
        raise UsageError(
            f"--id-images {config.id_images} is too few for {classes} classes; choose at least {splits * classes}, or 0 for all"
        )
    return -(-config.id_images // classes)


def _codec(path: Path, images: ImageSet, config: DataConfig) -> Codec:
    if config.match_codec == "none":
        return Lossless()
    return codec_of(first_image_bytes(path, images.keys), config.image_px)


def _shapes_id(config: DataConfig) -> IdData:
    _images_per_class(config, len(shapes.ID_WORDS), splits=2)
    train = _painted_words("train", config.id_images or 5000, config.image_px)
    train, validation = _halves(train, is_validation_key)
    codec = Sensor()
    parts = [train, validation, _painted_words("test", SHAPES_TEST_IMAGES, config.image_px)]
    train, validation, test = (_with_images(part, pass_through(codec, part.images, part.keys)) for part in parts)
    return IdData(train, validation, test, codec if config.match_codec == "auto" else Lossless())


@lru_cache(maxsize=2)
def _painted_words(split: str, count: int, side: int) -> ImageSet:
    words = shapes.ID_WORDS
    images = np.stack([shapes.render(words[i % len(words)], split, 0, i, side) for i in range(count)])
    keys = tuple(f"{split}/{words[i % len(words)]}/{i}" for i in range(count))
    return ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.arange(count) % len(words), keys, words)


def _with_images(part: ImageSet, images: torch.Tensor) -> ImageSet:
    return ImageSet(images, part.labels, part.keys, part.class_names)


def _halves(images: ImageSet, belongs: Callable[[str], bool], least: int = 1) -> tuple[ImageSet, ImageSet]:
    """Split by key: ``(rest, belonging)``, with at least ``least`` images of every class in the rest and one belonging."""
    chosen = {row for row, key in enumerate(images.keys) if belongs(key)}
    for label in range(len(images.class_names)):
        members = (images.labels == label).nonzero()[:, 0].tolist()
        taken = [row for row in members if row in chosen]
        if not taken:
            chosen.add(members[-1])
        too_many = max(len(taken) - (len(members) - least), 0)
        chosen.difference_update(taken[:too_many])
    rest = [row for row in range(len(images)) if row not in chosen]
    return images.rows(rest), images.rows(sorted(chosen))


def folders_of(classes: str, path: Path) -> dict[str, list[str]]:
    """Images of ``path`` by class folder; of a standard set its own folders only, in label order.

    A folder of ImageNet therefore serves every set of its classes. Raises :class:`DataError` naming folders that are missing.
    """
    found = list_class_folders(path)
    if classes not in CLASS_SETS:
        return found
    by_name = {folded(name_of_folder(folder)): folder for folder in found}
    wanted = {name: by_name.get(folded(name)) for name in frozen_classes(classes)}
    missing = [name for name, folder in wanted.items() if folder is None]
    if missing:
        raise DataError(f"{path} is not {classes}: no folder for {some(missing)} among {some(list(found))}")
    return {folder: found[folder] for folder in wanted.values()}


# --- out of distribution ----------------------------------------------------------------------------------------
def default_ood(classes: str) -> tuple[str, ...]:
    return DEFAULT_OOD_OF_SHAPES if classes == "shapes" else DEFAULT_OOD_OF_FILES


def group_of(name: str) -> str:
    return "near" if name in NEAR else "far"


def load_ood(entry: str, config: DataConfig, limit: int, codec: Codec, split: str = "test") -> ImageSet:
    """The OOD set ``NAME`` or ``NAME=PATH``, at most ``limit`` images, passed through the ID codec."""
    name, path = parse_ood(entry, config)
    if path is None:
        images = paint(name, split, limit or PAINTED_OOD_IMAGES, config.image_px)
    else:
        images = read_loose_images(path, config.image_px, limit)
    return _with_images(images, pass_through(codec, images.images, tuple(f"{name}/{key}" for key in images.keys)))


def names_in_ood(entry: str, config: DataConfig) -> tuple[str, ...]:
    """What the classes of the OOD set ``entry`` are called, where that is known."""
    name, path = parse_ood(entry, config)
    if name in CLASS_SETS:
        return tuple(frozen_classes(name))
    if path is not None:
        parts = {Path(key).parent.name for key in list_images(path)}
        return tuple(sorted(name_of_folder(part) for part in parts if part))
    return {"held-out-shapes": shapes.TEST_WORDS, "shapes": tuple(shapes.FIGURES)}.get(name, ())


def parse_ood(entry: str, config: DataConfig) -> tuple[str, Path | None]:
    """Name and place of an OOD set; no place for a painted one. :class:`UsageError` or :class:`DataError` say what is wrong."""
    name, equals, path = entry.partition("=")
    if not name or (equals and not path):
        raise UsageError(f"--ood {entry!r} is not NAME or NAME=PATH")
    if equals:
        if not Path(path).exists():
            raise DataError(f"--ood {entry}: {path} does not exist")
        return name, Path(path)
    location = locate(name, config)
    if location is not None:
        return name, _test_part(location, name) or location
    if name in PAINTED:
        return name, None
    raise DataError(f"--ood {name!r} is not known and not found; {_where(name)}, or choose of: {', '.join(PAINTED)}")


def paint(name: str, split: str, count: int, side: int) -> ImageSet:
    """``count`` images of the painted set ``name``."""
    images = np.stack([PAINTED[name](split, index, side) for index in range(count)])
    keys = tuple(f"{split}/{index}" for index in range(count))
    return ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.full((count,), -1), keys, ())


# --- where files lie --------------------------------------------------------------------------------------------
def locate(name: str, config: DataConfig) -> Path | None:
    """`--data NAME=PATH`, then `$DOGFAST_DATA/NAME` as a folder, NAME.tar or NAME-train.tar beside it."""
    for entry in config.data:
        known, _, path = entry.partition("=")
        if known == name:
            if not Path(path).exists():
                raise DataError(f"--data {entry}: {path} does not exist")
            return Path(path)
    root = os.environ.get(DATA_VARIABLE)
    if root:
        for candidate in (Path(root) / name, Path(root) / f"{name}.tar", Path(root) / f"{name}-train.tar"):
            if candidate.exists():
                return candidate
    return None


def _locate_id(config: DataConfig) -> tuple[Path, Path | None]:
    name = config.classes
    location = locate(name, config)
    if location is None:
        if name in FILE_SETS:
            raise DataError(f"the images of {name} are not here; {_where(name)}")
        location = Path(name)
        if not location.exists():
            raise UsageError(
                f"--classes {name!r} is neither a known set ({', '.join(known_class_sets())}) nor an existing folder or tar"
            )
    return _train_part(location, name) or location, locate(f"{name}-test", config) or _test_part(location, name)


def _train_part(location: Path, name: str) -> Path | None:
    if _is_class_folder(location / "train"):
        return None
    return _first_existing(location / "train", location / f"{Path(name).name}-train.tar", location / "train.tar")


def _test_part(location: Path, name: str) -> Path | None:
    if location.is_file():
        twin = location.with_name(location.name.replace("-train.tar", "-test.tar"))
        return twin if twin != location and twin.exists() else None
    parts = [location / part for part in ("test", "val", f"{Path(name).name}-test.tar", "test.tar")]
    split = _train_part(location, name) is not None
    return _first_existing(*(part for part in parts if split or not _is_class_folder(part)))


def _is_class_folder(folder: Path) -> bool:
    """Whether ``folder`` holds images itself, and so is a class that happens to be called as a split is."""
    return any(path.suffix.lower() in SUFFIXES for path in folder.glob("*"))


def _first_existing(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def _where(name: str) -> str:
    return f"say where with --data {name}=PATH (a folder or tar of class folders) or put it under ${DATA_VARIABLE}/{name}"
