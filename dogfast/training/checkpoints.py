"""A training that was interrupted, in one file: everything the next step depends on. Tensors and JSON, never pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from dogfast.errors import DataError
from dogfast.run import publish

FACTS = "facts"
KINDS = {"identity": dict, "step": int, "epoch": int, "history": list, "tally": dict, "scaler": dict} | {
    "seconds": float,
    "waited_s": float,
}
"""What the facts of every checkpoint hold."""


@dataclass
class State:
    """What a training is made of besides its data: modules by name, optimizers by name."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name, alive: writing into a tensor changes the training."""
        found = {
            f"{owner}.{name}": tensor for owner, module in self.modules.items() for name, tensor in module.state_dict().items()
        }
        for owner, optimizer in self.optimizers.items():
            found |= {f"{owner}.{index}.{name}": state[name] for index, state in _states(optimizer) for name in sorted(state)}
        return found

    @torch.no_grad()
    def restore(self, path: Path, tensors: dict[str, Tensor]) -> None:
        """Put ``tensors`` in the place of one's own; :class:`DataError` where ``path`` held others."""
        own = self.tensors()
        for name in sorted(own.keys() ^ tensors.keys()):
            raise _damaged(path, f"{name!r} is missing or unknown")
        for name, tensor in own.items():
            if (tensor.shape, tensor.dtype) != (tensors[name].shape, tensors[name].dtype):
                raise _damaged(path, f"{name!r} is {tensors[name].dtype} {tuple(tensors[name].shape)}")
            tensor.copy_(tensors[name])


def _states(optimizer: Optimizer) -> Iterator[tuple[int, dict[str, Tensor]]]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return ((index, optimizer.state[parameter]) for index, parameter in enumerate(parameters))


def write_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Publish ``tensors`` and ``facts`` in the place of an earlier checkpoint."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    publish(path, save(content, {FACTS: json.dumps(facts)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of ``path``; :class:`DataError` where it is no checkpoint."""
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})[FACTS])
            if wrong := [name for name, kind in KINDS.items() if type(facts[name]) is not kind]:
                raise ValueError(f"{wrong[0]!r} is {facts[wrong[0]]!r}")
            return {name: file.get_tensor(name) for name in file.keys()}, facts
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path} is not a checkpoint of this training ({why}); remove it to train anew")
