"""Worst OOD regret: move the weights to where the outlier loss could still be improved most.

DOG Eq. 8, after Wang et al., "Out-of-distribution detection with implicit outlier transformation" (ICLR 2023, DOE).
Each weight tensor w_l gets P_l, as long as w_l itself, along the gradient of the squared regret surrogate r².
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dogfast.seeds import stream
from dogfast.training.ranks import ALONE, Ranks

GRADIENT_FLOOR = 1e-12
"""Frobenius norm of a tensor's gradient of r² up to which it is rounding: normalising it would give noise."""


def regret_slope(logits_ood: Tensor) -> Tensor:
    """r = d/ds mean[mean_k s f_k - LSE(s f)] at s = 1, which is mean[mean_k f_k - sum_k p_k f_k].

    ``logits_ood``: (m, C). A scalar, never positive, and 0 where all logits of each row are equal. A row's common offset
    cancels in r; it is taken away first, for it would only round.
    """
    centred = logits_ood - logits_ood.mean(1, keepdim=True)
    return -(logits_ood.softmax(1) * centred).sum(1).mean()


def perturbable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that are moved: convolutions and the head, no biases and no batch normalisation."""
    return {name: p for name, p in model.named_parameters() if p.ndim > 1 and name.rpartition(".")[2] == "weight"}


def match_norm(weight: Tensor, delta: Tensor) -> Tensor:
    """P_l = ||w_l|| / (||Δ_l|| + 1e-20) * Δ_l; zero where ||Δ_l|| is within :data:`GRADIENT_FLOOR` or not finite."""
    norm = delta.norm()
    usable = norm.isfinite() & (norm > GRADIENT_FLOOR)
    return torch.where(usable, weight.norm() / (norm + 1e-20) * delta, torch.zeros_like(delta))


def forward_aside(model: nn.Module, images: Tensor, weights: dict[str, Tensor] | None = None) -> Tensor:
    """Logits of ``model``, with ``weights`` in place of its own, that leave its batch-norm running statistics alone.

    Gradients flow to ``weights`` and, for the rest, to the model's parameters.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return functional_call(model, buffers | (weights or {}), (images,))


def drops(model: nn.Module) -> bool:
    """Whether dropout is at work in ``model``."""
    return any(isinstance(m, nn.Dropout) and m.training and m.p > 0 for m in model.modules())


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Dropout passes everything; batch normalisation stays in its mode."""
    active = [m for m in model.modules() if isinstance(m, nn.Dropout) and m.training]
    for module in active:
        module.eval()
    try:
        yield
    finally:
        for module in active:
            module.train()


@contextmanager
def moved(model: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Stand at ``weights`` inside; on leaving, θ = θ_saved + (θ_after - θ_perturbed), exact where no step was taken."""
    parameters = {name: model.get_parameter(name) for name in weights}
    saved = {name: p.detach().clone() for name, p in parameters.items()}
    targets = {name: weight.detach().clone() for name, weight in weights.items()}
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(targets[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(saved[name] + (p - targets[name]))


class Perturbation(nn.Module):
    """P over the training steps, one buffer a perturbable weight of ``model``: smoothed, zero before the first step.

    ``sign`` is "ascend" (Δ = +∇r²) or "descend" (Δ = -∇r², the DOE release); ``smoothing`` in [0, 1) is the part of the
    former P that is kept; ``seed`` and the step decide the strength α, uniform over ``strengths``.
    """

    begun: Tensor

    def __init__(self, model: nn.Module, strengths: tuple[float, ...], sign: str, smoothing: float, seed: int):
        super().__init__()
        self.strengths, self.smoothing, self.seed = strengths, smoothing, seed
        self.direction = {"ascend": 1.0, "descend": -1.0}[sign]
        self.names = tuple(perturbable(model))
        self.register_buffer("begun", torch.zeros((), device=next(model.parameters()).device))
        for place, weight in enumerate(perturbable(model).values()):
            self.register_buffer(str(place), torch.zeros_like(weight))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """P by the name of its weight."""
        return {name: self.get_buffer(str(place)) for place, name in enumerate(self.names)}

    def strength(self, step: int) -> float:
        """α of ``step``."""
        drawn = torch.randint(len(self.strengths), (), generator=stream(self.seed, "strength", step))
        return self.strengths[int(drawn)]

    def refresh(self, model: nn.Module, images: Tensor, n_id: int, ranks: Ranks = ALONE) -> Tensor:
        """Update P from the joint batch (n_id + m, 3, H, W), whose first ``n_id`` rows are ID; returns r, a scalar.

        The proxy is the model at its current weights with batch statistics and no dropout, in the weights' precision.
        """
        with without_dropout(model), torch.autocast(images.device.type, enabled=False):
            return self.absorb(model, forward_aside(model, images)[n_id:], ranks)

    def absorb(self, model: nn.Module, logits_ood: Tensor, ranks: Ranks = ALONE) -> Tensor:
        """Update P from outlier logits (m, C) of a forward at the current weights, whose graph and precision are kept; returns r, a
        scalar.

        Over several processes r is the mean r̄ of all, and ∇r̄² the mean of 2 r̄ ∇r: the mean of r² would be another thing.
        """
        weights, own = perturbable(model), regret_slope(logits_ood)
        slope = ranks.average(own.detach())
        gradients = torch.autograd.grad(2 * slope * own, list(weights.values()), retain_graph=True, materialize_grads=True)
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients):
                self._blend(self.tensors[name], match_norm(weight, self.direction * ranks.average(gradient)))
            self.begun.fill_(1.0)
        return slope

    def _blend(self, kept: Tensor, new: Tensor) -> None:
        part = self.smoothing * self.begun
        kept.copy_(part * kept + (1 - part) * new)

    def displace(self, model: nn.Module, strength: float) -> dict[str, Tensor]:
        """θ + αP of the perturbable weights, differentiable in θ; α is ``strength``."""
        return {name: weight + strength * self.tensors[name] for name, weight in perturbable(model).items()}
