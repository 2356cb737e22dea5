"""What a training from scratch begins with: a fresh network, weights from a file, or a published classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dogfast.classifiers.backbones import build, is_published
from dogfast.classifiers.huggingface import IMAGENET, Published, check_size, from_architecture
from dogfast.classifiers.resnet import LAYOUTS
from dogfast.classifiers.weights import fitting, head_names, read_weights
from dogfast.config import RunConfig
from dogfast.config.data import SMALL_PX
from dogfast.config.option import require
from dogfast.data.catalogue import IdData, class_names_of
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import file_digest


def fresh_classifier(config: RunConfig, data: IdData, events: Events) -> tuple[nn.Module, dict[str, Any]]:
    """A classifier of ``data`` and the facts it is built from; what is random comes from torch's global generator.

    Says so where the head of weights does not fit and is made anew. Raises as :func:`check_start` does.
    """
    settings, names, image_px = config.training, data.class_names, config.data.image_px
    architecture: dict[str, Any] = {}
    if is_published(settings.backbone):
        published = Published(settings.backbone, config.model.offline)
        architecture = published.architecture()
        model, headless = published.load(len(names))
    else:
        mean, std = _normalisation(config, data.train.images)
        model = build(settings.backbone, names, mean, std, settings.dropout, image_px)
        headless = bool(settings.weights) and not _begin_with_weights(config, model)
    if headless:
        _refuse_bare_head(config)
        events.say(f"the weights know other classes than {config.data.classes}: the head is a fresh one")
    return model, {
        "backbone": settings.backbone,
        "class_names": list(names),
        "image_px": image_px,
        "mean": model.mean.tolist(),
        "std": model.std.tolist(),
        "dropout": settings.dropout,
        "architecture": architecture,
    }


def check_start(config: RunConfig) -> None:
    """Refuse a backbone or weights that no training could begin with; builds nothing of size.

    Raises :class:`UsageError`, :class:`DataError` or (for a published classifier) :class:`EnvironmentFault`.
    """
    settings, names, image_px = config.training, class_names_of(config.data), config.data.image_px
    if is_published(settings.backbone):
        architecture = Published(settings.backbone, config.model.offline).architecture()
        with torch.device("meta"):
            check_size(settings.backbone, from_architecture(architecture, len(names), *IMAGENET), image_px)
        return
    with torch.device("meta"):
        model = build(settings.backbone, names, *IMAGENET, settings.dropout, image_px)
    if settings.weights and not set(head_names(model)) <= _weights(config, model).keys():
        _refuse_bare_head(config)


def start_fields(config: RunConfig) -> dict[str, str]:
    """What weights and a published classifier are, in the place of where they lie, for the identity of a training."""
    settings, fields = config.training, {}
    if settings.weights:
        path = Path(settings.weights)
        if not path.is_file():
            raise DataError(f"--weights {path} is no file; name the one this training began with")
        fields["weights"] = file_digest(path)
    if is_published(settings.backbone):
        fields["backbone"] = Published(settings.backbone, config.model.offline).identity()
    return fields


def _normalisation(config: RunConfig, images: Tensor) -> tuple[Any, Any]:
    """Mean and standard deviation of the ID images; ImageNet's for weights of torchvision's kind."""
    settings = config.training
    if settings.weights and settings.backbone in LAYOUTS and config.data.image_px > SMALL_PX:
        return IMAGENET
    pixels = images.float() / 255
    return pixels.mean((0, 2, 3)).tolist(), pixels.std((0, 2, 3)).clamp(min=1e-3).tolist()


def _begin_with_weights(config: RunConfig, model: nn.Module) -> bool:
    """Put the file's tensors into ``model``; whether the head is among them."""
    found = _weights(config, model)
    model.load_state_dict(found, strict=False)
    return set(head_names(model)) <= found.keys()


def _weights(config: RunConfig, model: nn.Module) -> dict[str, Tensor]:
    path = Path(config.training.weights)
    return fitting(model, read_weights(path, config.training.allow_pickle), path)


def _refuse_bare_head(config: RunConfig) -> None:
    require(
        config.training.pretrain_epochs != 0,
        f"--pretrain-epochs 0 takes the weights as they are, but they know other classes than {config.data.classes}; train the "
        "head for an epoch or more",
    )
