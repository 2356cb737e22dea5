"""What an objective is given: one step's images, and a model with its optimizer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dogfast.training.perturbation import forward_aside


@dataclass(frozen=True)
class Batch:
    """One step's images, augmented, float in [0, 1], on the device: ID (n, 3, H, W) with labels (n,), outliers (m, 3, H, W)."""

    id_images: Tensor
    id_labels: Tensor
    ood_images: Tensor | None = None

    @property
    def joint(self) -> Tensor:
        """ID images, then outliers: (n + m, 3, H, W)."""
        assert self.ood_images is not None
        return torch.cat([self.id_images, self.ood_images])

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The ID part and the outlier part of what a forward of :attr:`joint` gave."""
        return rows[: len(self.id_images)], rows[len(self.id_images) :]


class Learner:
    """A model in training mode and its optimizer; forwards run in ``precision``, logits and losses are at least fp32.

    A step whose losses or gradients are not finite is refused: weights, momentum and running statistics stay as they were.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, precision: str = "fp32"):
        self.model, self.optimizer, self.precision = model, optimizer, precision
        self.epoch = 0
        self.refused = False
        self._losses: list[Tensor] = []
        self._statistics: list[Tensor] = []

    def autocast(self) -> torch.autocast:
        device = next(self.model.parameters()).device
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def logits(self, images: Tensor) -> Tensor:
        """(n, classes); batch normalisation keeps the batch's statistics."""
        self._statistics = self._statistics or [buffer.clone() for buffer in self.model.buffers()]
        with self.autocast():
            return _at_least_fp32(self.model(images))

    def logits_aside(self, images: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        """(n, classes) at other ``weights``; batch normalisation uses the batch's statistics and keeps nothing."""
        with self.autocast():
            return _at_least_fp32(forward_aside(self.model, images, weights))

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss`` to those of the coming step."""
        self._losses.append(loss.detach())
        loss.backward()

    def step(self, clip: float | None = None) -> bool:
        """Apply the gathered gradients, their norm clipped to ``clip``; False when the step was refused."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = get_total_norm([p.grad for p in parameters])
        finite = bool(torch.stack([value.isfinite() for value in (*self._losses, norm)]).all())
        if finite:
            if clip is not None:
                clip_grads_with_norm_(parameters, clip, norm)
            self.optimizer.step()
        else:
            self.refused = True
            for buffer, kept in zip(self.model.buffers(), self._statistics):
                buffer.copy_(kept)
        self._losses, self._statistics = [], []
        self.optimizer.zero_grad(set_to_none=True)
        return finite


def _at_least_fp32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
