"""A detector on disk: `detector.json`, which names every other file with its SHA-256. Never pickle.

Whoever made the folder is a stranger: nothing outside of it is opened, links are not followed, and what does not fit its
classifier is refused before it is used.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from dogfast.classifiers.facts import BUILT_FROM, is_number
from dogfast.classifiers.loading import RECORD_FILE, WEIGHTS_FILE, load_classifier, save_classifier
from dogfast.data.codec import codec_facts, codec_from
from dogfast.data.resize import FILTERS, Resize
from dogfast.detection.detector import Detector
from dogfast.detection.inputs import Preparation
from dogfast.detection.scores import SCORES
from dogfast.errors import DataError
from dogfast.run import file_digest, publish, read_json, to_json, versions
from dogfast.text import first_line

FORMAT = 1
DETECTOR_FILE, STATE_FILE, CLASSIFIER = "detector.json", "state.safetensors", "classifier"
VALIDATION = "validation_scores"
"""Stands among the tensors of the state."""
NAME = re.compile(r"[a-z_]{1,40}")
REMEDY = "export it again"


def _is_resize(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == asdict(Resize()).keys()
        and isinstance(value["filter"], str)
        and value["filter"] in FILTERS
        and is_number(value["share"])
        and 0 < value["share"] <= 1
        and type(value["centre_px"]) is int
        and value["centre_px"] >= 0
    )


def _is_codec(value: Any) -> bool:
    try:
        codec_from(value)
    except ValueError:
        return False
    return True


def _are_digests(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(digest, str) and len(digest) == 64 for digest in value.values())


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(NAME.fullmatch(name) and is_number(number) for name, number in value.items())


FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "classifier": (lambda v: isinstance(v, str), "a name"),
    "classifier_sha256": (lambda v: isinstance(v, str), "a digest"),
    "score": (lambda v: isinstance(v, str) and v in SCORES, f"one of {', '.join(SCORES)}"),
    "state": (_are_numbers, "numbers by name"),
    "recall": (lambda v: is_number(v) and 0 < v <= 1, "a number above 0 and at most 1"),
    "threshold": (is_number, "a number"),
    "resize": (_is_resize, f"a filter ({', '.join(FILTERS)}), a share and centre_px"),
    "codec": (_is_codec, "lossless, sensor, or jpeg with its tables"),
    "files": (_are_digests, "SHA-256 by file"),
}
"""Each fact that is read back: its test, and its description."""


# --- writing ----------------------------------------------------------------------------------------------------
def save_detector(folder: Path, detector: Detector, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the state, then `detector.json` with the digests of all that ``folder`` holds by then, and ``facts``; returns it.

    Raises :class:`DataError` where the threshold is not finite, and so no threshold.
    """
    if not math.isfinite(detector.threshold):
        raise DataError(
            f"the score {detector.score} of {detector.name} is infinite for most ID validation images; choose another --score"
        )
    tensors = {key: value.contiguous() for key, value in detector.state.items() if isinstance(value, Tensor)}
    publish(folder / STATE_FILE, to_safetensors(tensors | {VALIDATION: detector.validation}))
    said = described(detector) | facts | {"files": {name: file_digest(folder / name) for name in _files_of(folder)}}
    publish(folder / DETECTOR_FILE, to_json(said))
    return said


def save_with_classifier(folder: Path, detector: Detector, facts: dict[str, Any]) -> dict[str, Any]:
    """`save_detector` with the classifier inside, so that ``folder`` needs nothing else."""
    save_classifier(folder / CLASSIFIER, detector.model, {name: detector.facts[name] for name in BUILT_FROM})
    return save_detector(folder, detector, facts)


def described(detector: Detector) -> dict[str, Any]:
    """What `detector.json` says of ``detector``: what it does, and what its images must go through."""
    preparation = detector.preparation
    return {
        "format": FORMAT,
        "classifier": detector.name,
        "classifier_sha256": detector.facts["sha256"],
        "class_names": list(detector.class_names),
        "image_px": preparation.side_px,
        "input": {"layout": "NCHW", "channels": "RGB", "dtype": "float32", "range": [0, 1]},
        "resize": asdict(preparation.resize),
        "codec": codec_facts(preparation.codec),
        "preparation": str(preparation),
        "score": detector.score,
        "state": {key: value for key, value in detector.state.items() if not isinstance(value, Tensor)},
        "recall": detector.recall,
        "threshold": detector.threshold,
        "validation_images": len(detector.validation),
        "versions": versions(),
    }


# --- reading ----------------------------------------------------------------------------------------------------
def read_detector(folder: Path, classifier: Path | None = None) -> tuple[Detector, dict[str, Any]]:
    """The detector in ``folder`` on the CPU, and what its `detector.json` says; its classifier lies inside unless given.

    Raises :class:`DataError` naming the file that is missing, changed, a link, or not what it should be.
    """
    try:
        return _read(folder, classifier)
    except OSError as error:
        raise DataError(f"{folder}: a file of the detector cannot be read ({error.strerror}); {REMEDY}") from error


def _read(folder: Path, classifier: Path | None) -> tuple[Detector, dict[str, Any]]:
    record = folder / DETECTOR_FILE
    facts = _checked(record, read_json(record))
    own = () if classifier else (f"{CLASSIFIER}/{WEIGHTS_FILE}", f"{CLASSIFIER}/{RECORD_FILE}")
    _check_files(record, facts["files"], (STATE_FILE, *own))
    tensors = _read_state(folder / STATE_FILE, facts["files"][STATE_FILE])
    model, known = load_classifier(classifier or folder / CLASSIFIER)
    for name, held in (("classifier_sha256", "sha256"), ("class_names", "class_names"), ("image_px", "image_px")):
        if facts.get(name) != known[held]:
            raise DataError(f"{record}: '{name}' is not that of its classifier; {REMEDY}")
    detector = Detector(
        facts["classifier"],
        model,
        known,
        facts["score"],
        facts["state"] | {name: tensor for name, tensor in tensors.items() if name != VALIDATION},
        tensors[VALIDATION],
        Preparation(known["image_px"], Resize(**facts["resize"]), codec_from(facts["codec"])),
        facts["recall"],
    )
    _try_out(record, detector, facts["threshold"])
    return detector, facts


def is_nothing_but_a_detector(folder: Path) -> bool:
    """Whether ``folder`` holds the files that its `detector.json` names and no other, so that it may be replaced."""
    try:
        named = _checked(folder / DETECTOR_FILE, read_json(folder / DETECTOR_FILE))["files"]
        return set(_files_of(folder)) == set(named)
    except DataError:
        return False


def _checked(record: Path, facts: Any) -> dict[str, Any]:
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise DataError(f"{record} is no detector of format {FORMAT}; {REMEDY}")
    for name, (holds, description) in FACTS.items():
        if name not in facts or not holds(facts[name]):
            raise DataError(f"{record}: '{name}' is not {description}; {REMEDY}")
    return facts


def _check_files(record: Path, digests: dict[str, str], needed: tuple[str, ...]) -> None:
    """Every file that is named stands in the folder itself, is no link and has its digest; what is ``needed`` is named."""
    if missing := [name for name in needed if name not in digests]:
        raise DataError(f"{record} does not name {missing[0]}; {REMEDY}")
    present = _files_of(record.parent)
    for name, digest in digests.items():
        path = record.parent / name if name in present else None
        if path is None or path.is_symlink() or not path.is_file():
            raise DataError(f"{record} names {name!r}, which is no file of its folder; {REMEDY}")
        if file_digest(path) != digest:
            raise DataError(f"{path} is not the file that {DETECTOR_FILE} names (its SHA-256 differs); {REMEDY}")


def _files_of(folder: Path) -> list[str]:
    """Relative names of what lies in ``folder`` beside `detector.json`, sorted; linked folders are not entered."""
    found = (Path(place, name).relative_to(folder).as_posix() for place, _, names in os.walk(folder) for name in names)
    return sorted(name for name in found if name != DETECTOR_FILE)


def _read_state(path: Path, sha256: str) -> dict[str, Tensor]:
    content = path.read_bytes()
    try:
        tensors = parse_safetensors(content) if hashlib.sha256(content).hexdigest() == sha256 else {}
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} is not a safetensors file ({first_line(error)}); {REMEDY}") from error
    scores = tensors.get(VALIDATION)
    if scores is None or scores.dtype != torch.float32 or scores.ndim != 1 or not len(scores) or scores.isnan().any():
        raise DataError(f"{path} does not hold the scores of validation images; {REMEDY}")
    for name, tensor in tensors.items():
        if name != VALIDATION and not (NAME.fullmatch(name) and tensor.is_floating_point() and tensor.isfinite().all()):
            raise DataError(f"{path}: {name!r} is no tensor of finite numbers; {REMEDY}")
    return tensors


def _try_out(record: Path, detector: Detector, threshold: float) -> None:
    """Score two plain images: a state of other shapes or names than the score takes shows itself."""
    if detector.threshold != threshold:
        raise DataError(f"{record}: 'threshold' is not that of its validation scores; {REMEDY}")
    side = detector.side_px
    plain = torch.stack([torch.full((3, side, side), value, dtype=torch.uint8) for value in (0, 255)])
    try:
        shape = detector(plain).score.shape
    except Exception as error:  # what torch raises for unfit tensors has no common base
        raise DataError(
            f"{record}: the state does not fit the score {detector.score} ({first_line(error)}); {REMEDY}"
        ) from error
    if shape != (2,):
        raise DataError(f"{record}: the state does not fit the score {detector.score}; {REMEDY}")
