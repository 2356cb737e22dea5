"""Networks by the name that `--backbone` gives them."""

from __future__ import annotations

from collections.abc import Sequence

from dogfast.classifiers.classifier import Classifier
from dogfast.classifiers.huggingface import PREFIX
from dogfast.classifiers.resnet import LAYOUTS, ResNet
from dogfast.classifiers.wrn import WideResNet, parse_wrn
from dogfast.errors import UsageError


def is_published(backbone: str) -> bool:
    """Whether ``backbone`` names a classifier of the transformers library."""
    return backbone.startswith(PREFIX) and backbone != PREFIX


def is_backbone(backbone: str) -> bool:
    return is_published(backbone) or backbone in LAYOUTS or parse_wrn(backbone) is not None


def build(
    backbone: str,
    class_names: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    dropout: float = 0.0,
    image_px: int = 32,
) -> Classifier:
    """A fresh classifier, initialised from torch's global generator; ``mean`` and ``std`` are three numbers of [0, 1] images.

    ``dropout`` concerns a wrn, ``image_px`` the stem of a resnet. Raises :class:`UsageError` when ``backbone`` is neither.
    """
    if backbone in LAYOUTS:
        return ResNet(backbone, len(class_names), image_px, mean, std)
    if (size := parse_wrn(backbone)) is None:
        raise UsageError(
            f"--backbone {backbone!r} is unknown; write wrn-DEPTH-WIDTH with a depth of 6n + 4 from 10 to 994 and a width from "
            f"1 to 99, such as wrn-40-2, or {', '.join(LAYOUTS)}, or {PREFIX}NAME of a transformers image classifier"
        )
    return WideResNet(*size, len(class_names), dropout, mean, std)
