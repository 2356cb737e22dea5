"""What a classifier shows of images: one pass a data set gives features and logits, and every score is made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from dogfast.classifiers.mixed import mixed
from dogfast.classifiers.moved import moved_logits

MOST_TOGETHER = 500
PIXELS_TOGETHER = 2**22
MOVED_TOGETHER = 1 / 8
"""Of a batch, so much is moved at once: a gradient needs the activations of every layer."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """One pass of a classifier over one data set; one pass serves every score. fp32, on the CPU.

    ``logits = features @ head_weight.T + head_bias``. Scores read it and never write into it.
    """

    logits: torch.Tensor
    """(n, C)"""
    features: torch.Tensor
    """(n, d), pooled activations before the head; non-negative behind a ReLU"""
    head_weight: torch.Tensor
    """(C, d)"""
    head_bias: torch.Tensor
    """(C,)"""
    rejection: torch.Tensor | None = None
    """(n,), the logit of the class of outliers, where the classifier has one"""
    moved: dict[float, torch.Tensor] | None = None
    """(n, C) by magnitude, the logits of the images moved by it (`moved_logits`), where that was asked for"""

    def parts(self, rows: int, device: str) -> Iterator[Evidence]:
        """The evidence on ``device``, ``rows`` images at a time: at least one part, where there are no images of none."""
        weight, bias = self.head_weight.to(device), self.head_bias.to(device)
        for start in range(0, max(1, len(self.logits)), rows):
            some = slice(start, start + rows)
            rejection = None if self.rejection is None else self.rejection[some].to(device)
            moved = None if self.moved is None else {by: logits[some].to(device) for by, logits in self.moved.items()}
            yield Evidence(self.logits[some].to(device), self.features[some].to(device), weight, bias, rejection, moved)


def images_together(image_px: int) -> int:
    """Images of a side that are looked at in one batch: 500, and fewer above 91 px."""
    return min(MOST_TOGETHER, PIXELS_TOGETHER // image_px**2)


@torch.no_grad()
def collect_evidence(
    model: nn.Module,
    images: torch.Tensor,
    batch: int,
    device: str,
    precision: str,
    advance: Callable[[int], None] = lambda n: None,
    magnitudes: tuple[float, ...] = (),
) -> Evidence:
    """Features and logits of ``images``, uint8 (n, 3, H, W) on any device, as fp32 on the CPU.

    ``model`` lies on ``device``; it has ``features``, float images in [0, 1] to (n, d), and ``head``, a linear layer, and
    perhaps ``rejection``, another one to a single logit. It runs in eval mode, and its modes are restored. ``precision`` is
    that of `mixed`; half of it concerns ``features`` alone, the head is always fp32. Beyond the result, memory holds one
    batch. ``advance`` is told the images done. Where ``magnitudes`` are given, the images are also moved by each of them.
    """
    assert images.dtype == torch.uint8 and images.ndim == 4, (images.dtype, images.shape)
    kind = torch.device(device).type
    weight = model.head.weight.float()
    bias = weight.new_zeros(len(weight)) if model.head.bias is None else model.head.bias.float()
    features = torch.empty(len(images), weight.shape[1])
    logits = torch.empty(len(images), weight.shape[0])
    refuse = getattr(model, "rejection", None)
    rejection = None if refuse is None else torch.empty(len(images))
    moved = {magnitude: torch.empty_like(logits) for magnitude in magnitudes}

    def features_of(some: torch.Tensor) -> torch.Tensor:
        with mixed(kind, precision):
            return model.features(some).float()

    def logits_of(some: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(features_of(some), weight, bias)

    with _eval_mode(model), torch.autocast(kind, enabled=False):
        for start in range(0, len(images), batch):
            rows = slice(start, start + batch)
            some = images[rows].to(device).to(memory_format=torch.channels_last).float() / 255
            found = features_of(some)
            logits[rows] = nn.functional.linear(found, weight, bias)
            if refuse is not None:
                rejection[rows] = nn.functional.linear(found, refuse.weight.float(), refuse.bias.float())[:, 0]
            features[rows] = found
            if magnitudes:
                then = moved_logits(logits_of, some, magnitudes, math.ceil(MOVED_TOGETHER * batch))
                for magnitude in magnitudes:
                    moved[magnitude][rows] = then[magnitude]
            advance(len(some))
    return Evidence(logits, features, weight.cpu().clone(), bias.cpu().clone(), rejection, moved or None)


def accuracy(evidence: Evidence, labels: torch.Tensor) -> float:
    """Share in [0, 1] of images whose largest logit is that of their label; ``labels`` (n,) of integers, n > 0."""
    assert labels.shape == evidence.logits.shape[:1] and len(labels), (labels.shape, evidence.logits.shape)
    return float((evidence.logits.argmax(dim=-1) == labels.cpu()).double().mean())


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, and afterwards each in the mode it had."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode
