"""The data sets of a run, in-distribution and out: found, read, split, and passed through the ID set's codec."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dogfast.config.data import DataConfig
from dogfast.config.option import require
from dogfast.data import shapes
from dogfast.data.class_sets import CLASS_SETS, frozen_classes, name_of_folder
from dogfast.data.codec import Codec, Lossless, Sensor, codec_of, pass_through
from dogfast.data.files import class_names, refuse_single_images, some
from dogfast.data.hub import check_hub
from dogfast.data.images import ImageSet
from dogfast.data.nouns import folded
from dogfast.data.pictures import Pictures, first_content, labelled, unlabelled
from dogfast.data.places import HubSplit, Place, at_hub, locate, not_here, of_suites, open_place, part_learned, part_tested
from dogfast.data.resize import WHOLE, Resize
from dogfast.data.sets import OPENOOD, SETS, SUITE, SUITES, expected_counts, group_of, suite
from dogfast.data.splits import is_test_key, is_validation_key
from dogfast.errors import DataError, UsageError

SHAPES_TEST_IMAGES = 2000
PAINTED_OOD_IMAGES = 2000
NUMBER = re.compile(r"[0-9]{1,9}")
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
    name, (place, test_place) = config.classes, _locate_id(config)
    divided, resize = test_place is not None, resize_of(config.classes, config.classes)
    splits = 2 if divided else 3
    pictures = open_place(place)
    by_class = classes_of(name, pictures)
    if len(by_class) < 2:
        raise DataError(f"{pictures.place} holds one class, {next(iter(by_class))!r}; a classifier needs two to tell apart")
    per_class = _images_per_class(config, len(by_class), splits)
    everything = labelled(pictures, config.image_px, per_class, by_class, resize)
    refuse_single_images(everything, pictures.place, splits)
    found = sum(map(len, by_class.values()))
    facts = _facts(name, place, found, len(everything), resize.says(config.image_px), "train" if divided else "all")
    if divided:
        train, test = replace(everything, facts=facts), _tested(config, test_place, resize)
        if test.class_names != train.class_names:
            raise DataError(f"{test_place} holds other classes than {place}; both need the same class folders")
    else:
        train, test = _halves(replace(everything, facts=facts), is_test_key, least=2)
    train, validation = _halves(train, is_validation_key)
    return IdData(train, validation, test, _codec(pictures, everything, config))


def _tested(config: DataConfig, place: Place, resize: Resize) -> ImageSet:
    by_class = classes_of(config.classes, pictures := open_place(place))
    images = labelled(pictures, config.image_px, 0, by_class, resize)
    return replace(images, facts=_facts(config.classes, place, len(images), len(images), resize.says(config.image_px), "test"))


def class_names_of(config: DataConfig) -> tuple[str, ...]:
    """The names of ``--classes`` without reading an image. Raises as `load_id` does."""
    if config.classes == "shapes":
        return shapes.ID_WORDS
    if config.classes in CLASS_SETS:
        return tuple(frozen_classes(config.classes))
    pictures = open_place(_locate_id(config)[0])
    return class_names(list(pictures.by_class()), pictures.place)


def known_class_sets() -> tuple[str, ...]:
    return ("shapes", *CLASS_SETS)


def _images_per_class(config: DataConfig, classes: int, splits: int) -> int:
    """How many of each class ``--id-images`` leaves (0 = all); :class:`UsageError` where a split would stay empty."""
    if config.id_images and config.id_images < splits * classes:
        raise UsageError(
            f"--id-images {config.id_images} is too few for {classes} classes; choose at least {splits * classes}, or 0 for all"
        )
    return -(-config.id_images // classes)


def _codec(pictures: Pictures, images: ImageSet, config: DataConfig) -> Codec:
    if config.match_codec == "none":
        return Lossless()
    content = first_content(pictures, images.keys)
    return codec_of(content, config.image_px) if isinstance(content, bytes) else Lossless()


def _shapes_id(config: DataConfig) -> IdData:
    _images_per_class(config, len(shapes.ID_WORDS), splits=2)
    train = _painted_words("train", config.id_images or 5000, config.image_px)
    train, validation = _halves(train, is_validation_key)
    codec = Sensor()
    parts = [train, validation, _painted_words("test", SHAPES_TEST_IMAGES, config.image_px)]
    train, validation, test = (replace(part, images=pass_through(codec, part.images, part.keys)) for part in parts)
    test = replace(test, facts=_painted_facts("shapes", len(test)))
    return IdData(train, validation, test, codec if config.match_codec == "auto" else Lossless())


@lru_cache(maxsize=2)
def _painted_words(split: str, count: int, side: int) -> ImageSet:
    words = shapes.ID_WORDS
    images = np.stack([shapes.render(words[i % len(words)], split, 0, i, side) for i in range(count)])
    keys = tuple(f"{split}/{words[i % len(words)]}/{i}" for i in range(count))
    return ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.arange(count) % len(words), keys, words)


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


def classes_of(classes: str, pictures: Pictures) -> dict[str, list[str]]:
    """Keys of ``pictures`` by class; of a standard set its own classes only, in label order.

    ImageNet's images therefore serve every set of its classes. Raises :class:`DataError` naming classes that are missing.
    """
    found = pictures.by_class()
    if classes not in CLASS_SETS:
        return found
    found = _renamed(found, classes)
    by_name = {folded(name_of_folder(folder)): folder for folder in found}
    wanted = {name: by_name.get(folded(name)) for name in frozen_classes(classes)}
    missing = [name for name, folder in wanted.items() if folder is None]
    if missing:
        raise DataError(f"{pictures.place} is not {classes}: no folder for {some(missing)} among {some(list(found))}")
    return {folder: found[folder] for folder in wanted.values()}


def _renamed(found: dict[str, list[str]], classes: str) -> dict[str, list[str]]:
    """Label numbers, and names that are lists of synonyms in label order, become the names of ``classes`` or of ImageNet."""
    numbers = [int(each) for each in found if NUMBER.fullmatch(each)]
    synonyms = [folded(each.split(",")[0]) for each in found if "," in each]
    for known in (classes, "imagenet"):
        names = tuple(frozen_classes(known))
        if numbers and len(numbers) == len(found) and max(numbers) < len(names):
            return {names[number]: keys for number, keys in zip(numbers, found.values())}
        if synonyms and len(found) == len(names) and 2 * len(set(synonyms) & set(map(folded, names))) >= len(synonyms):
            return dict(zip(names, found.values()))
    return found


# --- out of distribution ----------------------------------------------------------------------------------------
def default_ood(classes: str) -> tuple[str, ...]:
    return DEFAULT_OOD_OF_SHAPES if classes == "shapes" else DEFAULT_OOD_OF_FILES


def named_ood(entries: tuple[str, ...], config: DataConfig) -> dict[str, str]:
    """``--ood`` (the default sets where empty), with suites taken apart: its entries by the name of their set.

    Raises :class:`UsageError` for a name given twice and for the ID set itself, :class:`DataError` naming all that are missing.
    """
    typed = [entry for entry in entries or default_ood(config.classes) if not entry.startswith(SUITE)]
    suites = [entry.removeprefix(SUITE) for entry in entries if entry.startswith(SUITE)]
    names = [entry.partition("=")[0] for entry in typed]
    twins = sorted(name for name in set(names) if names.count(name) > 1)
    require(not twins, f"--ood names {', '.join(map(repr, twins))} twice; give every set a name of its own")
    wanted = dict(zip(names, typed)) | {
        name: name for each in suites for name in suite(each, config.classes) if name not in names
    }
    require(config.classes not in wanted, f"--ood {config.classes}: that is the ID set; leave it out")
    missing = [name for name, entry in wanted.items() if name == entry and name in SETS and not _is_there(name, config)]
    if missing:
        raise DataError(f"--ood: {not_here(missing, config)}{of_suites(missing)}")
    for entry in wanted.values():
        parse_ood(entry, config)
    return wanted


def _is_there(name: str, config: DataConfig) -> bool:
    return bool(SETS[name].painter or locate(name, config) or at_hub(name, "test", config))


def load_ood(entry: str, config: DataConfig, limit: int, codec: Codec, split: str = "test") -> ImageSet:
    """The OOD set ``NAME`` or ``NAME=PATH``, at most ``limit`` images, passed through the ID codec."""
    name, place = parse_ood(entry, config)
    if place is None:
        images = paint(name, split, limit or PAINTED_OOD_IMAGES, config.image_px)
        coded = pass_through(codec, images.images, tuple(f"{name}/{key}" for key in images.keys))
        images = replace(images, images=coded)
    else:
        pictures, resize = open_place(place), resize_of(name, config.classes)
        images = unlabelled(pictures, config.image_px, limit, resize, codec, name)
        facts = _facts(name, place, len(pictures.keys), len(images), resize.says(config.image_px), "test")
        images = replace(images, facts=facts)
    return replace(images, facts={**images.facts, "group": group_of(name, config.classes)})


def names_in_ood(entry: str, config: DataConfig) -> tuple[str, ...]:
    """What the classes of the OOD set ``entry`` are called, where that is known without asking the hub."""
    name, place = parse_ood(entry, config)
    if name in CLASS_SETS:
        return tuple(frozen_classes(name))
    if place is None:
        return {"held-out-shapes": shapes.TEST_WORDS, "shapes": tuple(shapes.FIGURES)}.get(name, ())
    if isinstance(place, HubSplit):
        return ()
    try:
        return tuple(sorted(map(name_of_folder, open_place(place).by_class())))
    except DataError:
        return ()


def parse_ood(entry: str, config: DataConfig) -> tuple[str, Place | None]:
    """Name and place of an OOD set; no place for a painted one. :class:`UsageError` or :class:`DataError` say what is wrong.

    Of a place that is divided it is the test part, unless a path was given for a set that is not known.
    """
    name, equals, path = entry.partition("=")
    if not name or (equals and not path):
        raise UsageError(f"--ood {entry!r} is not NAME or NAME=PATH")
    location = Path(path) if equals else locate(name, config)
    if location is not None:
        if not location.exists():
            raise DataError(f"--ood {entry}: {path} does not exist")
        as_it_is = equals and (location.is_file() or name not in SETS)
        return name, location if as_it_is else part_tested(location, name) or location
    if name in SETS and SETS[name].painter:
        return name, None
    asked = at_hub(name, "test", config)
    if name not in SETS and ("/" in name or Path(name).exists()):
        raise UsageError(f"--ood {entry!r} is a path without a name; give it one: --ood {Path(name).stem or 'NAME'}={name}")
    if asked is None:
        known = ", ".join([*SETS, *(SUITE + each for each in (*SUITES, OPENOOD))])
        choice = of_suites([name]) if name in SETS else f"; or choose what is known by name: {known}"
        raise DataError(f"--ood {name!r}: {not_here([name], config)}{choice}")
    check_hub(asked.name, asked.hub)
    return name, asked


def resize_of(name: str, classes: str) -> Resize:
    """What images of the set ``name`` go through beside the ID set ``classes``.

    A standard ID set's protocol has a filter for each set. A user's ID images have ours, and then every set has it, as has a
    user's OOD set that of the ID set: a filter of its own would tell them apart.
    """
    known = SETS.get(classes)
    return WHOLE if known is None else SETS.get(name, known).resize


def _facts(name: str, place: Place, found: int, used: int, resize: str, part: str) -> dict[str, Any]:
    """What was read, for records: no path of this machine is told. ``count``: who else counts so many, or "differs"."""
    known, expected = SETS.get(name), expected_counts(name, part)
    return {
        "name": name if known else "",
        "origin": known.origin if known else "files of the user",
        "licence": known.licence if known else "not known",
        "native": known.native if known else "any size",
        "read": str(place) if isinstance(place, HubSplit) else "files",
        "found": found,
        "expected": expected,
        "count": next((who for who, count in expected.items() if count == found), "differs" if expected else "not known"),
        "used": used,
        "resize": resize,
    }


def _painted_facts(name: str, count: int) -> dict[str, Any]:
    return {
        "name": name,
        "origin": SETS[name].origin,
        "licence": SETS[name].licence,
        "native": SETS[name].native,
        "read": "painted",
        "found": count,
        "expected": {},
        "count": "painted",
        "used": count,
        "resize": "none",
    }


def count_warning(facts: dict[str, Any]) -> str:
    """What to say of a set that holds another number of images than it should; empty of every other."""
    if facts.get("count") != "differs":
        return ""
    counts = ", ".join(f"{count:,} {who}" for who, count in facts["expected"].items())
    return f"note: {facts['name']} holds {facts['found']:,} images here, not as many as are expected ({counts}); results are not comparable"


def paint(name: str, split: str, count: int, side: int) -> ImageSet:
    """``count`` images of the painted set ``name``."""
    painter = SETS[name].painter
    assert painter is not None, "a painted set"
    images = np.stack([painter(split, index, side) for index in range(count)])
    keys = tuple(f"{split}/{index}" for index in range(count))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, torch.full((count,), -1), keys, (), _painted_facts(name, count))


# --- where they lie ---------------------------------------------------------------------------------------------
def _locate_id(config: DataConfig) -> tuple[Place, Place | None]:
    """Where the images of ``--classes`` lie, and their test part, where they are divided."""
    name = config.classes
    location = locate(name, config)
    if location is None and name in CLASS_SETS:
        asked = at_hub(name, "train", config)
        if asked is None:
            raise DataError(not_here([name], config))
        check_hub(asked.name, asked.hub)
        return asked, locate(f"{name}-test", config) or at_hub(name, "test", config)
    if location is None:
        location = Path(name)
        if not location.exists():
            raise UsageError(
                f"--classes {name!r} is neither a known set ({', '.join(known_class_sets())}) nor an existing folder or tar"
            )
    return part_learned(location, name) or location, locate(f"{name}-test", config) or part_tested(location, name)
