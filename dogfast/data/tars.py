"""Uncompressed tars of images: class folders as on disk, or WebDataset's samples with their class beside each image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dogfast.data.files import ImageFile, grouped, list_image_files, read_image_files, read_small_members, some
from dogfast.data.pictures import Pictures, called
from dogfast.errors import DataError

SIDECARS = (".cls", ".json")
CLASS_FIELDS = ("class_name", "label", "cls")
"""Of a sample's JSON, the first that is there names its class."""


def open_tars(paths: tuple[Path, ...]) -> Pictures:
    """The images of one tar, or of the shards of a set; of shards, keys begin with the name of the tar."""
    place, names = called(paths)
    prefix = {path: f"{name}/" if len(paths) > 1 else "" for path, name in names.items()}
    listed = {path: list_image_files(path) for path in paths}
    files = {prefix[path] + file.key: (path, file) for path, found in listed.items() for file in found}

    def read(keys: list[str]) -> Iterator[tuple[str, bytes]]:
        wanted: dict[Path, list[ImageFile]] = {}
        for path, file in map(files.__getitem__, keys):
            wanted.setdefault(path, []).append(file)
        for path, chosen in wanted.items():
            for key, content in read_image_files(path, chosen):
                yield prefix[path] + key, content

    def by_class() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path, held in listed.items():
            for name, keys in _classes_in(path, [file.key for file in held]).items():
                found.setdefault(name, []).extend(prefix[path] + key for key in keys)
        if not found:
            raise DataError(
                f"{place} holds no images in class folders (CLASS/IMAGE), nor samples with a class (KEY.jpg beside KEY.cls or KEY.json)"
            )
        return dict(sorted(found.items()))

    return Pictures(place, list(files), by_class, read)


def _classes_in(path: Path, keys: list[str]) -> dict[str, list[str]]:
    folders = grouped(keys, {})
    return folders if len(folders) > 1 else _by_sidecar(path, keys) or folders


def _by_sidecar(path: Path, keys: list[str]) -> dict[str, list[str]]:
    """``keys`` by the class that stands beside each; empty where nothing stands beside any."""
    class_of: dict[str, str] = {}
    for name, content in read_small_members(path, SIDECARS):
        if said := _class_in(path, name, content):
            class_of.setdefault(_sample(name), said)
    without = [key for key in keys if _sample(key) not in class_of]
    if class_of and without:
        raise DataError(f"{path}: samples without a class: {some(without)}; pack their .cls or .json with them")
    found: dict[str, list[str]] = {}
    for key in keys if class_of else []:
        found.setdefault(class_of[_sample(key)], []).append(key)
    return found


def _sample(name: str) -> str:
    """WebDataset's key: the name up to the first dot of its last part."""
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".")[0]))


def _class_in(path: Path, name: str, content: bytes) -> str:
    """What a sidecar says of the class: a name, or a number in decimal digits; empty where it says nothing."""
    try:
        if name.endswith(".cls"):
            return content.decode().strip()
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {name} is not readable ({type(error).__name__}); pack the tar again") from error
    if not isinstance(facts, dict):
        return ""
    said = next((facts[field] for field in CLASS_FIELDS if field in facts), "")
    return str(said) if type(said) in (str, int) else ""
