"""The training loop: device-resident uint8 images, batched augmentation, SGD with a cosine, and an objective for the step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dogfast.config.option import one_of, require
from dogfast.config.training import TrainingConfig
from dogfast.data.augment import random_crop_flip, to_unit
from dogfast.errors import DataError, DogfastError
from dogfast.events import Events
from dogfast.run import digest
from dogfast.training.learner import Batch, Learner
from dogfast.training.objectives import OBJECTIVES

FINAL_LR = 1e-6
MAX_SKIPPED_IN_A_ROW = 20


# --- schedule and data ------------------------------------------------------------------------------------------
def cosine(step: int, steps: int, peak: float) -> float:
    """Learning rate of ``step`` in 0 … ``steps`` - 1: ``peak`` at the first, exactly 1e-6 at the last."""
    final = min(FINAL_LR, peak)
    return final + (peak - final) * (1 + math.cos(math.pi * step / max(steps - 1, 1))) / 2


def stream(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator of its own for each purpose."""
    return torch.Generator().manual_seed(int(digest(seed, purpose)[:15], 16))


def cycle(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless index batches (size,): every one of ``count`` is drawn once before any is drawn again."""
    waiting = torch.empty(0, dtype=torch.int64)
    while True:
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=generator)])
        yield waiting[:size]
        waiting = waiting[size:]


class Batches:
    """Reshuffled, augmented ID batches beside cycling outliers; an incomplete last ID batch is dropped.

    A set smaller than one batch makes one batch of all its images.
    """

    def __init__(
        self, id_images: Tensor, id_labels: Tensor, outliers: Tensor | None, config: TrainingConfig, device: str | torch.device
    ):
        self.device, self.pad = device, id_images.shape[2] // 8
        self.images, self.labels = id_images.to(device), id_labels.to(device)
        self.outliers = None if outliers is None else outliers.to(device)
        self.size = min(config.batch, len(id_images))
        self.steps = len(id_images) // self.size
        self.passes = self.size + (0 if outliers is None else config.ood_batch)
        self.order, self.augmentation = stream(config.train_seed, "order"), stream(config.train_seed, "augmentation")
        if outliers is not None:
            self.ood_order = cycle(len(outliers), config.ood_batch, stream(config.train_seed, "outlier order"))

    def epoch(self) -> Iterator[Batch]:
        """``steps`` batches."""
        order = torch.randperm(len(self.images), generator=self.order)[: self.steps * self.size]
        for index in order.to(self.device).split(self.size):
            outliers = None if self.outliers is None else self._take(self.outliers, next(self.ood_order).to(self.device))
            yield Batch(self._take(self.images, index), self.labels[index], outliers)

    def _take(self, images: Tensor, index: Tensor) -> Tensor:
        augmented = random_crop_flip(images[index], self.pad, self.augmentation)
        return to_unit(augmented.contiguous(memory_format=torch.channels_last))


# --- the loop ---------------------------------------------------------------------------------------------------
def fit(
    model: nn.Module,
    id_images: Tensor,
    id_labels: Tensor,
    outliers: Tensor | None,
    config: TrainingConfig,
    objective: str,
    epochs: int,
    lr: float,
    device: str | torch.device,
    precision: str,
    events: Events,
    task: str = "train",
) -> dict[str, Any]:
    """Train ``model`` in place and leave it in evaluation mode on ``device``.

    ``id_images``: uint8 (n, 3, H, W); ``id_labels``: int64 (n,); ``outliers``: uint8 (k, 3, H, W), unused by ce;
    ``precision``: "fp32" or "bf16" (master weights are fp32). ``config`` gives batch sizes, momentum, weight decay, seed and
    the objective's own fields; the same seed on the same machine gives the same weights.

    Returns ``history`` (a dict of mean losses an epoch), ``seconds``, ``img_per_s`` (ID and outlier images of all steps)
    and ``skipped_steps`` (not finite). Raises :class:`UsageError` for an unknown objective or missing outliers,
    :class:`DataError` for unfit images or labels, :class:`DogfastError` when 20 steps in a row are not finite.
    """
    one_of(objective, tuple(OBJECTIVES), "--objective")
    take_step = OBJECTIVES[objective](config)
    require(outliers is not None or not take_step.uses_outliers, f"--objective {objective} needs outliers; name --outliers")
    outliers = outliers if take_step.uses_outliers else None
    _check_data(id_images, id_labels, outliers, model)
    with _reproducible(config.train_seed, torch.device(device)):
        model.to(device=device, memory_format=torch.channels_last).train()
        learner = Learner(model, _optimizer(model, config, lr), precision)
        batches = Batches(id_images, id_labels, outliers, config, device)
        return _run(learner, batches, take_step, objective, epochs, lr, events, task)


def _run(
    learner: Learner, batches: Batches, take_step: Any, name: str, epochs: int, lr: float, events: Events, task: str
) -> dict[str, Any]:
    steps, tally, started, history = epochs * batches.steps, _Tally(name), time.perf_counter(), []
    with events.progress(task, steps * batches.passes) as advance:
        for learner.epoch in range(epochs):
            for step, batch in enumerate(batches.epoch(), learner.epoch * batches.steps):
                _set_lr(learner.optimizer, cosine(step, steps, lr))
                learner.refused = False
                tally.add(take_step(learner, batch), learner.refused)
                advance(batches.passes)
            history.append({"epoch": learner.epoch} | tally.close_epoch())
            events("epoch", task=task, **history[-1])
    learner.model.eval()
    seconds = time.perf_counter() - started
    return {
        "history": history,
        "seconds": seconds,
        "img_per_s": steps * batches.passes / seconds,
        "skipped_steps": tally.skipped,
    }


class _Tally:
    """Means of an epoch's losses over the steps that were taken, and a count of those that were not."""

    def __init__(self, objective: str):
        self.objective, self.losses, self.skipped, self.in_a_row = objective, [], 0, 0

    def add(self, losses: dict[str, Tensor], refused: bool) -> None:
        self.in_a_row = self.in_a_row + 1 if refused else 0
        self.skipped += refused
        if not refused:
            self.losses.append(losses)
        elif self.in_a_row == MAX_SKIPPED_IN_A_ROW:
            flag = "--pretrain-lr" if self.objective == "ce" else "--lr"
            raise DogfastError(
                f"training diverged: the losses of {MAX_SKIPPED_IN_A_ROW} steps in a row were not finite; lower {flag}, "
                "or choose --train-precision fp32"
            )

    def close_epoch(self) -> dict[str, float]:
        names = list(dict.fromkeys(name for row in self.losses for name in row))
        means = {name: float(torch.stack([row[name] for row in self.losses if name in row]).mean()) for name in names}
        self.losses = []
        return means


def _optimizer(model: nn.Module, config: TrainingConfig, lr: float) -> torch.optim.SGD:
    return torch.optim.SGD(
        model.parameters(), lr, momentum=config.momentum, weight_decay=config.weight_decay, nesterov=config.momentum > 0
    )


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def _check_data(id_images: Tensor, id_labels: Tensor, outliers: Tensor | None, model: nn.Module) -> None:
    assert id_images.dtype == torch.uint8 and len(id_images) == len(id_labels)
    if len(id_images) == 0:
        raise DataError("there are no ID images to train on; check --classes and --data")
    if id_labels.min() < 0 or id_labels.max() >= model.head.out_features:
        raise DataError(
            f"labels reach from {id_labels.min()} to {id_labels.max()}; the classifier has {model.head.out_features}"
        )
    if outliers is None:
        return
    assert outliers.dtype == torch.uint8
    if len(outliers) == 0:
        raise DataError("there are no outliers to learn from; generate some, or name others with --outliers")
    if outliers.shape[1:] != id_images.shape[1:]:
        raise DataError(f"outliers are {_size(outliers)} px, ID images {_size(id_images)} px; bring both to --image-px")


def _size(images: Tensor) -> str:
    return f"{images.shape[3]} x {images.shape[2]}"


@contextmanager
def _reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout follows ``seed``, convolutions are deterministic; the caller's global generators are left as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        torch.manual_seed(seed)
        yield
