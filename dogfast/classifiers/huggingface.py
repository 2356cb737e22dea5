"""Image classifiers of the `transformers` library: `hf:` and a folder or hub name. Safetensors only, no remote code.

What is trained from one holds its architecture in the record, so that loading it asks no hub and needs no folder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from dogfast.classifiers.adapted import Adapted
from dogfast.errors import EnvironmentFault, UsageError
from dogfast.run import digest, file_digest
from dogfast.text import first_line

PREFIX = "hf:"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's images, which most published weights expect."""
LEFT_OUT = (
    "_", "attn_implementation", "auto_map", "dtype", "experts_implementation", "id2label", "label2id", "quantization_config",
    "torch_dtype", "transformers_version",
)  # fmt: skip
"""What fields of an architecture begin with that name other people's code, or this machine, or classes."""


class Published:
    """The classifier that ``backbone`` ("hf:" and a place) names, on disk or at the hub.

    Every method raises :class:`EnvironmentFault` where it cannot be read.
    """

    def __init__(self, backbone: str, offline: bool):
        self.backbone, self.place = backbone, backbone.removeprefix(PREFIX)
        self.options: dict[str, Any] = {"local_files_only": offline}

    def architecture(self) -> dict[str, Any]:
        """The network's configuration, in plain JSON types."""
        from transformers import AutoConfig

        config = self._read(AutoConfig.from_pretrained, self.place, trust_remote_code=False, **self.options)
        return plain(json.loads(json.dumps(config.to_dict())))

    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation that it takes from images in [0, 1]; ImageNet's where it says nothing."""
        path = self._file("preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
        said = {} if path is None else self._read(lambda: dict(json.loads(path.read_text(encoding="utf-8"))))
        if not said.get("do_normalize", True):
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        mean, std = (self._read(_triple, said.get(name, other)) for name, other in zip(("image_mean", "image_std"), IMAGENET))
        if min(std) <= 0:
            raise self._fault("its image_std is not positive")
        return mean, std

    def identity(self) -> str:
        """What it is: a digest of a folder's files, or the hub's name and commit."""
        folder = Path(self.place)
        if folder.is_dir():
            files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
            return PREFIX + digest([(path.name, file_digest(path)) for path in files])[:16]
        return f"{self.backbone}@{self._file('config.json').parent.name}"

    def load(self, classes: int) -> tuple[Adapted, bool]:
        """The classifier, and whether its head is a fresh one, because it knows another number of classes."""
        from transformers import AutoModelForImageClassification

        network, report = self._read(
            AutoModelForImageClassification.from_pretrained,
            self.place,
            num_labels=classes,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
            trust_remote_code=False,
            adapter_kwargs=dict(self.options),  # the library would ask the hub for adapters even so
            **self.options,
        )
        model = self._read(_adapted, network, classes, *self.normalisation())
        lacking = set(report["missing_keys"]) | {name for name, *_ in report["mismatched_keys"]}
        if foreign := sorted(name for name in lacking if name.rpartition(".")[0] != model.head_name):
            raise self._fault(f"{foreign[0]!r} is missing from its weights, or of another shape")
        return model, bool(lacking)

    def _file(self, name: str, **options: Any) -> Path | None:
        from transformers.utils import cached_file

        found = self._read(cached_file, self.place, name, **self.options, **options)
        return None if found is None else Path(found)

    def _read(self, read: Any, *given: Any, **options: Any) -> Any:
        _quiet_library()
        try:
            return read(*given, **options)
        except Exception as error:  # what the library raises for missing or damaged files has no common base
            raise self._fault(first_line(error).rstrip(".")) from error

    def _fault(self, why: str) -> EnvironmentFault:
        return EnvironmentFault(
            f"--backbone {self.backbone} cannot be loaded ({why}); name a transformers image classifier with safetensors weights, "
            f"as {PREFIX}FOLDER or {PREFIX}OWNER/NAME"
        )


def from_architecture(
    architecture: dict[str, Any], classes: int, mean: Sequence[float], std: Sequence[float], tensors: int | None = None
) -> Adapted:
    """A fresh classifier. What is unfit raises what the library does, or ValueError, before it has many more than ``tensors``."""
    from transformers import AutoConfig, AutoModelForImageClassification

    _quiet_library()
    config = AutoConfig.for_model(**plain(architecture), num_labels=classes)
    with _at_most(tensors):
        network = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    return _adapted(network, classes, mean, std)


def check_size(backbone: str, model: Adapted, image_px: int) -> None:
    """Raise :class:`UsageError` where ``model``, on the meta device, does not classify images of ``image_px``."""
    logits: list[Any] = []
    hooks = [
        model.head.register_forward_hook(lambda module, inputs, answer: logits.append(answer)),
        model.module.register_forward_hook(lambda module, inputs, answer: logits.append(answer.logits)),
    ]
    try:
        features = model.eval().features(torch.empty(2, 3, image_px, image_px, device="meta"))
    except Exception as error:  # as above
        raise UsageError(
            f"--backbone {backbone} takes no images of --image-px {image_px} ({first_line(error).rstrip('.')})"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    if features.shape != (2, model.head.in_features) or logits[0] is not logits[1]:
        raise UsageError(
            f"--backbone {backbone} does not end in one linear layer on a row of features an image; choose another"
        )


def plain(architecture: Any) -> Any:
    """``architecture`` without what would name code, places or classes."""
    if not isinstance(architecture, dict):
        return architecture
    return {name: plain(value) for name, value in architecture.items() if not name.startswith(LEFT_OUT)}


def _adapted(network: nn.Module, classes: int, mean: Sequence[float], std: Sequence[float]) -> Adapted:
    heads = [name for name, m in network.named_modules() if isinstance(m, nn.Linear) and m.out_features == classes]
    if not heads:
        raise ValueError(f"{type(network).__name__} has no linear layer of {classes} classes")
    return Adapted(network, heads[-1], mean, std)


def _triple(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


@contextmanager
def _at_most(tensors: int | None) -> Iterator[None]:
    """End the building of a network that gets far more parameters than there are ``tensors``: its depth may be a lie."""
    registered = 0

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal registered
        registered += 1
        if tensors is not None and registered > 2 * tensors + 10:
            raise ValueError(f"it has more parameters than the {tensors} of its file")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _quiet_library() -> None:
    """Keep the library's bars and tables to its own users off our screen: what fails, we say."""
    import transformers.utils.logging

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity(logging.CRITICAL)
