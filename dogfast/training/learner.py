"""What an objective steps with: a model, its optimizer, and the processes that share the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dogfast.classifiers.mixed import mixed
from dogfast.training.optimizers import step_unless_refused
from dogfast.training.perturbation import forward_aside
from dogfast.training.ranks import ALONE, Ranks


class Learner:
    """A model in training mode and its optimizer; forwards run in ``precision``, logits and losses are at least fp32.

    A step whose losses or gradients are not finite is refused: weights, momentum and running statistics stay as they were.
    It is refused on the device, so that nothing waits for the device to answer; ``refused`` counts the row of them.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str = "fp32",
        ranks: Ranks = ALONE,
        features: Callable[[Tensor], Tensor] | None = None,
    ):
        """``features``: the model's own, compiled; ``optimizer`` is fused, or reads ``found_inf`` as fused ones do."""
        self.model, self.optimizer, self.precision, self.ranks = model, optimizer, precision, ranks
        self._features = features or model.features
        self.device = next(model.parameters()).device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.epoch, self.at = 0, 0
        """Epoch and step, counted from 0."""
        self.parts, self.part = 1, 0
        """Parts this step is computed in, and the part at hand."""
        self.finite = torch.ones((), device=self.device)
        """1 where the last step was taken, 0 where it was refused."""
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._buffers = list(model.buffers())
        self._losses: list[Tensor] = []
        self._statistics: list[Tensor] = []

    # --- forwards -----------------------------------------------------------------------------------------------
    def autocast(self) -> torch.autocast:
        return mixed(self.device.type, self.precision)

    def features(self, images: Tensor) -> Tensor:
        """(n, d), at least fp32; batch normalisation keeps the batch's statistics."""
        self._statistics = self._statistics or [buffer.clone() for buffer in self._buffers]
        with self.autocast():
            return _at_least_fp32(self._features(images))

    def head(self, features: Tensor) -> Tensor:
        """(n, classes) of features, at least fp32."""
        return self.model.head(features)

    def logits(self, images: Tensor) -> Tensor:
        """(n, classes); batch normalisation keeps the batch's statistics."""
        return self.head(self.features(images))

    def logits_aside(self, images: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
        """(n, classes) at other ``weights``; batch normalisation uses the batch's statistics and keeps nothing."""
        with self.autocast():
            return _at_least_fp32(forward_aside(self.model, images, weights))

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Inside, forwards are those of evaluation: no gradient, no dropout, running statistics used and left alone."""
        kept = self._statistics
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train()
            self._statistics = kept

    # --- one step -----------------------------------------------------------------------------------------------
    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss`` to those of the coming step."""
        self._losses.append(loss.detach())
        self.scaler.scale(loss / self.parts).backward()

    def step(self, clip: float | None = None) -> None:
        """Apply the gathered gradients, their norm clipped to ``clip``, unless they or a loss is not finite.

        Before the last part of a step that is computed in several, nothing happens.
        """
        if self.part + 1 < self.parts:
            return
        taking = [parameter for parameter in self.parameters if parameter.grad is not None]
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in taking]
        finite = self._agree(gradients)
        norm = get_total_norm(gradients)
        finite = finite & norm.isfinite()
        if clip is not None:
            clip_grads_with_norm_(taking, clip, norm)
        step_unless_refused(self.optimizer, finite)
        if self.scaler.is_enabled():
            self.scaler.update()
        for buffer, kept in zip(self._buffers, self._statistics):
            buffer.copy_(torch.where(finite, buffer, kept))
        self.finite = self.finite * finite.float()
        self._losses, self._statistics = [], []

    def _agree(self, gradients: list[Tensor]) -> Tensor:
        """Average ``gradients`` over the processes, in place; whether the losses of all are finite."""
        loss = torch.stack([loss.to(torch.float32) for loss in self._losses]).sum()
        if self.ranks.count > 1:
            flat = self.ranks.average(torch.cat([loss.view(1), *(gradient.flatten() for gradient in gradients)]))
            loss, rest = flat[0], flat[1:]
            for gradient, mean in zip(gradients, rest.split([gradient.numel() for gradient in gradients])):
                gradient.copy_(mean.view_as(gradient))
        return loss.isfinite()


def _at_least_fp32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
