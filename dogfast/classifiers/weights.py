"""Weights from elsewhere: a file of tensors that a fresh classifier begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dogfast.config.option import require
from dogfast.errors import DataError
from dogfast.text import first_line

PICKLED = (".pt", ".pth")
WRAPPERS = ("state_dict", "model")
"""Under these names training scripts keep the tensors beside other things."""
PREFIXES = ("module.", "model.")
"""What training scripts put before every name."""
NOT_NEEDED = ("mean", "std")
"""Of the normalisation, which only classifiers of ours hold."""
COUNTER = "num_batches_tracked"


def read_weights(path: Path, allow_pickle: bool) -> dict[str, Tensor]:
    """The tensors of ``path`` by name, prefixes common to all names stripped.

    Raises :class:`UsageError` for a pickle that is not allowed or another kind of file, :class:`DataError` for one that is
    missing or damaged.
    """
    kind = path.suffix.lower()
    require(kind in (".safetensors", *PICKLED), f"--weights {path} is neither .safetensors nor {' nor '.join(PICKLED)}")
    require(
        allow_pickle or kind not in PICKLED,
        f"--weights {path} is a pickle, which can be made to run code; convert it to safetensors, or read it with torch's "
        "restricted reader by --allow-pickle",
    )
    try:
        if kind in PICKLED:
            found = torch.load(path, map_location="cpu", weights_only=True)
        else:
            found = load_file(path)
    except Exception as error:  # the readers and the file system have no common base
        raise DataError(f"--weights {path} cannot be read ({first_line(error)})") from error
    return _stripped(_tensors(path, found))


def fitting(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Of ``tensors``, what ``model`` takes, in its own types; without the head where that is missing or of other classes.

    ``model`` may lie on the meta device. Raises :class:`DataError` where anything else is missing, unknown, of another shape
    or not finite.
    """
    own, head = model.state_dict(), head_names(model)
    if unknown := sorted(tensors.keys() - own.keys()):
        raise _unfit(path, f"tensor {unknown[0]!r} is unknown")
    needed = (name for name in own if name not in (*head, *NOT_NEEDED) and not name.endswith(COUNTER))
    if missing := sorted(set(needed) - tensors.keys()):
        raise _unfit(path, f"tensor {missing[0]!r} is missing")
    headless = any(name not in tensors or tensors[name].shape != own[name].shape for name in head)
    taken = {name: tensor for name, tensor in tensors.items() if not (headless and name in head)}
    for name, tensor in taken.items():
        if tensor.shape != own[name].shape or tensor.is_floating_point() != own[name].is_floating_point():
            raise _unfit(path, f"{name!r} is {tensor.dtype} {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
        if not tensor.isfinite().all():
            raise _unfit(path, f"{name!r} holds values that are not finite")
    return {name: tensor.to(own[name].dtype) for name, tensor in taken.items()}


def head_names(model: nn.Module) -> tuple[str, ...]:
    """The names of the head's tensors in ``model``."""
    return tuple(name for name, parameter in model.named_parameters() if parameter in set(model.head.parameters()))


def _tensors(path: Path, found: Any) -> dict[str, Tensor]:
    for name in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not found or not all(isinstance(t, Tensor) for t in found.values()):
        raise DataError(f"--weights {path} holds no tensors by name; save a model's state_dict")
    return {str(name): tensor for name, tensor in found.items()}


def _stripped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _stripped({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors


def _unfit(path: Path, why: str) -> DataError:
    return DataError(
        f"--weights {path} do not fit --backbone: {why}; choose the backbone they were trained in (the stem of a resnet goes by "
        "--image-px: 3x3 up to 64 px, else 7x7)"
    )
