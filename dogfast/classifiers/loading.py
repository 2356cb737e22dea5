"""Classifiers on disk: `model.safetensors`, then `train.json`, the record that commits them. Never pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from dogfast.classifiers.backbones import build
from dogfast.classifiers.facts import checked_facts
from dogfast.classifiers.huggingface import from_architecture
from dogfast.classifiers.rejection import add_rejection
from dogfast.classifiers.rotations import RotationAveraged
from dogfast.errors import DataError, DogfastError
from dogfast.run import publish, read_json, to_json
from dogfast.text import first_line

WEIGHTS_FILE = "model.safetensors"
RECORD_FILE = "train.json"


def is_trained(folder: Path) -> bool:
    """Whether ``folder`` holds a committed classifier."""
    return (folder / RECORD_FILE).is_file()


def save_classifier(folder: Path, model: nn.Module, facts: dict[str, Any]) -> None:
    """Commit ``model``: weights first, then ``facts`` with the weights' ``sha256``.

    ``facts`` holds at least backbone, class_names, image_px, mean, std and dropout; more may follow.
    A former classifier of the folder counts as untrained from the first moment.
    """
    content = to_safetensors({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    facts = checked_facts(folder / RECORD_FILE, facts | {"sha256": hashlib.sha256(content).hexdigest()})
    (folder / RECORD_FILE).unlink(missing_ok=True)
    publish(folder / WEIGHTS_FILE, content)
    publish(folder / RECORD_FILE, to_json(facts))


def load_classifier(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The classifier in evaluation mode on the CPU, and its facts. Draws no random numbers.

    Raises :class:`DataError` naming the file that is missing, damaged, or not what its record says.
    """
    record, path = folder / RECORD_FILE, folder / WEIGHTS_FILE
    facts = checked_facts(record, read_json(record))
    state = _read_weights(path, facts["sha256"])
    with torch.device("meta"):
        expected = _rebuild(record, facts, len(state)).state_dict()
    _check_weights(path, state, expected)
    _check_normalisation(record, state, facts)
    with torch.random.fork_rng(devices=[]):
        model = _rebuild(record, facts, len(state))
    model.load_state_dict(state)
    return model.eval(), facts


def extend(model: nn.Module, rejection: bool, rotations: bool) -> nn.Module:
    """``model``, looking at four rotations where ``rotations``, with a class of rejection where ``rejection``."""
    if rotations:
        model = RotationAveraged(model)
    if rejection:
        add_rejection(model)
    return model


def _rebuild(record: Path, facts: dict[str, Any], tensors: int) -> nn.Module:
    classes, mean, std = facts["class_names"], facts["mean"], facts["std"]
    try:
        if facts["architecture"]:
            model: nn.Module = from_architecture(facts["architecture"], len(classes), mean, std, tensors)
        else:
            model = build(facts["backbone"], classes, mean, std, facts["dropout"], facts["image_px"])
    except DogfastError:
        raise
    except Exception as error:  # what transformers raises for an unfit architecture has no common base
        raise DataError(
            f"{record}: 'architecture' cannot be built ({first_line(error)}); train this classifier again"
        ) from error
    return extend(model, facts["rejection"], facts["rotations"])


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


def _check_normalisation(record: Path, state: dict[str, Tensor], facts: dict[str, Any]) -> None:
    for name in ("mean", "std"):
        held = state[f"backbone.{name}" if facts["rotations"] else name]
        if not torch.allclose(held, torch.tensor(facts[name], dtype=torch.float32)):
            raise DataError(f"{record}: '{name}' differs from that of {WEIGHTS_FILE}; train this classifier again")
