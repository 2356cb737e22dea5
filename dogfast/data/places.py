"""Where a set's images lie, in which of the layouts that people have them in, and how they are opened."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dogfast.config.data import DataConfig
from dogfast.data import binaries, hub, parquet, tars
from dogfast.data.files import SUFFIXES, files_below, is_image_name, is_plain_name, some
from dogfast.data.pictures import Pictures, image_files
from dogfast.data.sets import SETS, DataSet, Hub, suites_with
from dogfast.errors import DataError

DATA_VARIABLE = "DOGFAST_DATA"
TRAIN_PARTS = ("train", "data_batch")
ARCHIVES = (".tar", ".parquet")


@dataclass(frozen=True)
class HubSplit:
    """A split of the set ``name`` at the hub."""

    name: str
    hub: Hub
    split: str

    def __str__(self) -> str:
        return f"{self.hub.repo} ({self.split}) of the Hugging Face hub"


@dataclass(frozen=True)
class Files:
    """Files that hold many images each, all in one layout."""

    paths: tuple[Path, ...]

    def __str__(self) -> str:
        first = self.paths[0]
        return str(first) if len(self.paths) == 1 else f"{first.parent} ({len(self.paths)} files from {first.name} on)"


Place = Path | Files | HubSplit
"""A folder or tar of images, files of many, or a split at the hub."""
Opener = Callable[[tuple[Path, ...]], Pictures]

LAYOUTS: dict[str, tuple[re.Pattern[str], Opener]] = {
    "parquet": (re.compile(r".*\.parquet"), parquet.open_parquet),
    "WebDataset": (re.compile(r".*\.tar"), tars.open_tars),
    "SVHN's matrices": (re.compile(r"(train|test|extra)_32x32\.mat"), binaries.open_svhn),
    "MNIST's idx": (re.compile(r"(train|t10k)-images[-.]idx3-ubyte(\.gz)?"), binaries.open_idx),
    "CIFAR's binary version": (re.compile(r"(data_batch_[1-5]|test_batch|train|test)\.bin"), binaries.open_cifar),
}
"""Files that hold many images each, by their names."""
PICKLES = ({"data_batch_1", "batches.meta"}, {"train", "test", "meta"})
"""Files of CIFAR's Python versions, of 10 and of 100 classes."""


# --- finding ----------------------------------------------------------------------------------------------------
def locate(name: str, config: DataConfig) -> Path | None:
    """`--data NAME=PATH`, then `$DOGFAST_DATA/NAME` as a folder, NAME.tar, NAME.parquet or NAME-train.tar beside it."""
    for entry in config.data:
        known, _, path = entry.partition("=")
        if known == name:
            if not Path(path).exists():
                raise DataError(f"--data {entry}: {path} does not exist")
            return Path(path)
    root = os.environ.get(DATA_VARIABLE)
    names = (name, *(f"{name}{suffix}" for suffix in ARCHIVES), f"{name}-train.tar")
    return _first_existing(*(Path(root, each) for each in names)) if root else None


def at_hub(name: str, part: str, config: DataConfig) -> HubSplit | None:
    """The ``part``, "train" or "test", of the set ``name`` at the hub, if it is there and may be asked."""
    known = SETS[name].hub if name in SETS else None
    split = getattr(known, part) if known and config.hub else ""
    return HubSplit(name, known, split) if split else None


def part_learned(location: Path, name: str) -> Place | None:
    """What of ``location`` is learned from; None where it is not divided."""
    if _is_class_folder(location / "train"):
        return None
    return _first_existing(*_parts(location, name, ("train",))) or _files_called(location, TRAIN_PARTS)


def part_tested(location: Path, name: str) -> Place | None:
    """What of ``location`` is tested on; None where it is not divided."""
    if location.is_file():
        twin = location.with_name(location.name.replace("-train.tar", "-test.tar"))
        return twin if twin != location and twin.exists() else None
    called = SETS[name].test_parts if name in SETS else DataSet.test_parts
    divided = part_learned(location, name) is not None
    found = _first_existing(*(part for part in _parts(location, name, called) if divided or not _is_class_folder(part)))
    if found is not None:
        return found
    return next((files for each in called if (files := _files_called(location, (each,)))), None)


def not_here(names: list[str], config: DataConfig) -> str:
    """That the images of the sets ``names`` are nowhere, and what to do about it."""
    one = names[0] if len(names) == 1 else "NAME"
    said = (
        f"the images of {', '.join(names)} are not here; say where with --data {one}=PATH (a folder or tar of class folders or images, "
        f"WebDataset tars, or parquet) or put it under ${DATA_VARIABLE}/{one}"
    )
    forbidden = [name for name in names if name in SETS and SETS[name].hub and not config.hub]
    asking = f"; --offline or --no-hub keeps from asking the Hugging Face hub for {', '.join(forbidden)}"
    return said + (asking if forbidden else "")


def of_suites(names: list[str]) -> str:
    """Which of ``names`` stand in which suites, in brackets; nothing where none does."""
    told = ", ".join(f"{name} is of {' and '.join(suites_with(name))}" for name in names if suites_with(name))
    return f" ({told})" if told else ""


def _parts(location: Path, name: str, called: tuple[str, ...]) -> list[Path]:
    stem = Path(name).name
    return [location / each for part in called for each in (part, f"{stem}-{part}.tar", f"{part}.tar")]


def _files_called(location: Path, beginnings: tuple[str, ...]) -> Files | None:
    """The files of many images below ``location`` whose names, or those of their folders, begin so."""
    found = _files_of_many(location) if location.is_dir() else None
    chosen = tuple(path for path in found.paths if _begins(path.relative_to(location), beginnings)) if found else ()
    return Files(chosen) if chosen else None


def _begins(name: Path, beginnings: tuple[str, ...]) -> bool:
    return any(part.lower().startswith(beginnings) for part in name.parts)


def _files_of_many(location: Path) -> Files | None:
    """The files of the first of `LAYOUTS` below ``location``; None where there is an image file, or nothing."""
    names = []
    for name in files_below(location):
        if is_image_name(name):
            return None
        if is_plain_name(name):
            names.append(name)
    for called, _ in LAYOUTS.values():
        if paths := tuple(location / name for name in sorted(names) if called.fullmatch(Path(name).name)):
            return Files(paths)
    return None


def _is_class_folder(folder: Path) -> bool:
    """Whether ``folder`` holds images itself, and so is a class that happens to be called as a split is."""
    return any(path.suffix.lower() in SUFFIXES for path in folder.glob("*"))


def _first_existing(*paths: Path) -> Path | None:
    return next((path for path in paths if path.exists()), None)


# --- opening ----------------------------------------------------------------------------------------------------
def open_place(place: Place) -> Pictures:
    """The pictures at ``place``, of which nothing is decoded yet. Raises :class:`DataError` for what holds none or is damaged."""
    if isinstance(place, HubSplit):
        return hub.open_hub(place.name, place.hub, place.split)
    files = place if isinstance(place, Files) else _files_at(place)
    if files is None:
        return image_files(place)
    return next(opened for called, opened in LAYOUTS.values() if called.fullmatch(files.paths[0].name))(files.paths)


def _files_at(path: Path) -> Files | None:
    """The files of many images that ``path`` is or holds; None where it has none. Refuses CIFAR's pickles."""
    if path.is_file():
        return Files((path,)) if any(called.fullmatch(path.name) for called, _ in LAYOUTS.values()) else None
    found = _files_of_many(path)
    if found is not None:
        _refuse_several(path, found)
    elif _holds_pickles(path):
        raise DataError(
            f"{path} holds CIFAR's Python pickles, which could run code when they are read; take its binary version "
            "(cifar-10-binary.tar.gz or cifar-100-binary.tar.gz, unpacked)"
        )
    return found


def _holds_pickles(path: Path) -> bool:
    """Whether CIFAR's Python version is what there is: its files, and no image file."""
    names = set()
    for name in files_below(path):
        if is_image_name(name):
            return False
        names.add(Path(name).name)
    return any(known <= names for known in PICKLES)


def _refuse_several(path: Path, files: Files) -> None:
    """Shards of one set begin alike, or are called by its parts."""
    stems = {re.split(r"[-_.]?\d", file.name.removesuffix(file.suffix))[0] for file in files.paths}
    others = sorted(stems - {*DataSet.test_parts, *TRAIN_PARTS})
    if len(others) > 1:
        raise DataError(f"{path} holds files of several sets ({some(others)}); name the file or a folder of its own")
