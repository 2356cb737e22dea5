"""What a training method is: one step's losses, the state it keeps, and what it does before, between and after epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from dogfast.config.data import SMALL_PX
from dogfast.config.objectives import ObjectivesConfig
from dogfast.data.augment import PART_AREA, Draws, random_crop_flip, random_window, to_unit
from dogfast.training.regimes import Regime

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from dogfast.training.batches import Batches
    from dogfast.training.learner import Learner


@dataclass(frozen=True)
class Task:
    """What an objective is made for."""

    methods: ObjectivesConfig
    regime: Regime
    model: nn.Module
    """``features``: images to (n, d); ``head``: a linear layer from d to the classes."""
    image_px: int
    seed: int = 0
    latent_shape: tuple[int, ...] = ()
    """(C, h, w) of one outlier, for an objective that learns from latents."""

    @property
    def width(self) -> int:
        """d, the features an image has."""
        return self.model.head.in_features

    @property
    def classes(self) -> int:
        return self.model.head.out_features


class Objective(nn.Module):
    """A training method; its parameters are trained beside the model's, and its buffers are part of every checkpoint.

    ``forward(learner, batch)`` runs the forwards, gives losses to ``learner.backward``, calls ``learner.step`` and returns
    the step's losses by name, detached scalars.
    """

    brings: ClassVar[str] = ""
    """What batches bring beside ID images: outlier "images", "latents" or nothing."""
    reads: ClassVar[tuple[str, ...]] = ()
    """The fields of `ObjectivesConfig` that concern it, or what their names begin with."""
    compiles: ClassVar[bool] = True
    """Whether a compiled forward serves its backwards."""
    rejects: ClassVar[bool] = False
    """Whether the model has a `rejection`, a logit of belonging to no class."""
    rotates: ClassVar[bool] = False
    """Whether the model is a `RotationAveraged` one."""

    def __init__(self, task: Task):
        super().__init__()
        self.methods, self.regime = task.methods, task.regime

    def augment(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 (n, 3, S, S) to what the step sees of them: float in [0, 1], cropped and mirrored.

        Small images as CIFAR's are, shifted by an eighth; larger ones as ImageNet's, a window of them brought to the whole size.
        """
        side = images.shape[2]
        if side <= SMALL_PX:
            cropped = to_unit(random_crop_flip(images, side // 8, draws))
        else:
            cropped = random_window(to_unit(images), PART_AREA, draws)
        return cropped.contiguous(memory_format=torch.channels_last)

    def begin(self, learner: Learner, batches: Batches) -> None:
        """Before the first step of a training; not again when it is resumed."""

    def begin_epoch(self, learner: Learner, batches: Batches) -> None:
        """Before the first step of every epoch."""

    def finish(self, learner: Learner, batches: Batches) -> None:
        """After the last step."""

    def figures(self) -> dict[str, float]:
        """What its record says of it beside its losses, once it has begun."""
        return {}

    def learned(self) -> list[nn.Parameter]:
        """Parameters of its own that the model's optimizer trains too."""
        return list(self.parameters())

    def optimizers(self) -> dict[str, Optimizer]:
        """Further optimizers it steps itself, by name: their state is part of every checkpoint."""
        return {}
