"""Classifiers on disk: `model.safetensors`, then `train.json`, the record that commits them. Never pickle."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from dogfast.classifiers.wrn import WideResNet, parse_backbone
from dogfast.errors import DataError, UsageError
from dogfast.run import publish, read_json, to_json

WEIGHTS_FILE = "model.safetensors"
RECORD_FILE = "train.json"


def build(
    backbone: str, class_names: Sequence[str], mean: Sequence[float], std: Sequence[float], dropout: float = 0.0
) -> WideResNet:
    """A fresh classifier, initialised from torch's global generator; ``mean`` and ``std`` are three numbers of [0, 1] images.

    Raises :class:`UsageError` when ``backbone`` is not wrn-DEPTH-WIDTH.
    """
    depth, width = parse_backbone(backbone)
    return WideResNet(depth, width, len(class_names), dropout, mean, std)


def is_trained(folder: Path) -> bool:
    """Whether ``folder`` holds a committed classifier."""
    return (folder / RECORD_FILE).is_file()


def save_classifier(folder: Path, model: WideResNet, facts: dict[str, Any]) -> None:
    """Commit ``model``: weights first, then ``facts`` with the weights' ``sha256``.

    ``facts`` holds at least backbone, class_names, image_px, mean, std and dropout; more may follow.
    A former classifier of the folder counts as untrained from the first moment.
    """
    content = to_safetensors({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    facts = facts | {"sha256": hashlib.sha256(content).hexdigest()}
    _check_facts(folder / RECORD_FILE, facts)
    (folder / RECORD_FILE).unlink(missing_ok=True)
    publish(folder / WEIGHTS_FILE, content)
    publish(folder / RECORD_FILE, to_json(facts))


def load_classifier(folder: Path) -> tuple[WideResNet, dict[str, Any]]:
    """The classifier in evaluation mode on the CPU, and its facts. Draws no random numbers.

    Raises :class:`DataError` naming the file that is missing, damaged, or not what its record says.
    """
    facts = read_json(folder / RECORD_FILE)
    _check_facts(folder / RECORD_FILE, facts)
    path = folder / WEIGHTS_FILE
    state = _read_weights(path, facts["sha256"])
    with torch.device("meta"):
        model = build(facts["backbone"], facts["class_names"], facts["mean"], facts["std"], facts["dropout"])
    _check_weights(path, state, model.state_dict())
    model.load_state_dict(state, assign=True)
    _check_normalisation(folder / RECORD_FILE, model, facts)
    return model.eval(), facts


# --- what the record must say -----------------------------------------------------------------------------------
def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and all(map(_is_number, value))


def _is_backbone(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(parse_backbone(value))
    except UsageError:
        return False


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(name, str) for name in value)


FACTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "backbone": (_is_backbone, "wrn-DEPTH-WIDTH"),
    "class_names": (_are_names, "a list of names"),
    "image_px": (lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 8, "a whole number from 8"),
    "mean": (_is_triple, "three numbers"),
    "std": (lambda v: _is_triple(v) and min(v) > 0, "three positive numbers"),
    "dropout": (lambda v: _is_number(v) and 0 <= v < 1, "a number in [0, 1)"),
    "sha256": (lambda v: isinstance(v, str) and len(v) == 64, "64 hexadecimal digits"),
}
"""Each fact the record cannot do without: its test, and its description."""


def _check_facts(path: Path, facts: Any) -> None:
    if not isinstance(facts, dict):
        raise DataError(f"{path} is no training record (it holds no object); train this classifier again")
    for name, (holds, description) in FACTS.items():
        if name not in facts:
            raise DataError(f"{path} lacks '{name}' ({description}); train this classifier again")
        if not holds(facts[name]):
            raise DataError(f"{path}: '{name}' is not {description}; train this classifier again")


# --- what the weights must be -----------------------------------------------------------------------------------
def _read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); train this classifier again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path} is damaged (its SHA-256 differs from {RECORD_FILE}'s); train this classifier again")
    try:
        return parse_safetensors(content)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} is not a safetensors file ({error}); train this classifier again") from error


def _check_weights(path: Path, state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Names, shapes, types and finiteness, before anything of the expected size is allocated."""
    if differing := sorted(state.keys() ^ expected.keys()):
        raise DataError(f"{path} does not fit its backbone: tensor {differing[0]!r} is missing or unknown")
    for name, tensor in state.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            raise DataError(
                f"{path} does not fit its backbone: {name!r} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"expected {expected[name].dtype} {tuple(expected[name].shape)}"
            )
        if not tensor.isfinite().all():
            raise DataError(f"{path}: {name!r} holds values that are not finite; train this classifier again")


def _check_normalisation(path: Path, model: WideResNet, facts: dict[str, Any]) -> None:
    for name in ("mean", "std"):
        if not torch.allclose(getattr(model, name), torch.tensor(facts[name], dtype=torch.float32)):
            raise DataError(f"{path}: '{name}' differs from that of {WEIGHTS_FILE}; train this classifier again")
