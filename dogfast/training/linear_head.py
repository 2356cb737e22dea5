"""A linear head on frozen features: what makes a classifier of a contrastively trained backbone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.training.batches import Batches
from dogfast.training.learner import Learner

CHUNK = 500
ITERATIONS = 500
FLAT = 1e-7
"""Largest entry of a gradient that counts as zero."""
CONSTANT = 1e-6
"""Standard deviation, relative to the mean, up to which a feature's changes are rounding."""


def fit_head(learner: Learner, batches: Batches) -> None:
    """Give the model the head of `logistic_regression` on its features of all ID images, as they are.

    One pass; memory holds all features. Each of several processes makes the same pass and comes to the same head.
    """
    with learner.looking():
        seen = [(learner.features(images), labels) for images, labels in batches.id_chunks(CHUNK)]
    features, labels = (torch.cat(parts) for parts in zip(*seen))
    head = learner.model.head
    weight, bias = logistic_regression(features, labels, head.out_features, head.bias is not None)
    with torch.no_grad():
        head.weight.copy_(weight)
        if head.bias is not None:
            head.bias.copy_(bias)


def logistic_regression(features: Tensor, labels: Tensor, classes: int, biased: bool = True) -> tuple[Tensor, Tensor]:
    """Weight (C, d) and bias (C,), float64, that minimise mean_i CE(W x_i + b, y_i) + |W|² / 2n, x being standardised features.

    They are given for ``features`` (n, d) as they are. The problem is convex and its solution, which L-BFGS finds from zero,
    does not depend on chance; the decay, 1/n, is scikit-learn's default. A feature that never changes has weight 0. Unless
    ``biased``, b is 0, and features are not centred but scaled to a mean square of 1.
    """
    features = features.double()
    mean = features.mean(0) * biased
    spread = (features - mean).square().mean(0).sqrt()
    spread = torch.where(spread > CONSTANT * mean.abs(), spread, torch.inf)
    inputs = (features - mean) / spread
    weight = torch.zeros(classes, inputs.shape[1], dtype=torch.float64, device=inputs.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, device=inputs.device, requires_grad=biased)
    search = torch.optim.LBFGS(
        [weight, bias] if biased else [weight],
        max_iter=ITERATIONS,
        tolerance_grad=FLAT,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        value = F.cross_entropy(inputs @ weight.T + bias, labels) + weight.square().sum() / (2 * len(inputs))
        value.backward()
        return value

    search.step(loss)
    weight = weight.detach() / spread
    return weight, bias.detach() - weight @ mean
