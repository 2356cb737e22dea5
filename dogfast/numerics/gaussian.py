"""One Gaussian a class with a covariance that all classes share: fitted in float64, held as one Cholesky factor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.special import chdtri
from torch import Tensor
from torch.nn import functional as F

ROWS_AT_ONCE = 2**14


@dataclass(frozen=True, eq=False)
class TiedGaussian:
    """N(μ_c, Σ) of every class c, with Σ = L Lᵀ; float64."""

    means: Tensor
    """μ (C, d); zero for a class without features"""
    factor: Tensor
    """L (d, d), lower triangular; NaN where Σ was not positive definite"""


def fit_tied(features: Tensor, labels: Tensor, classes: int, shrinkage: float) -> TiedGaussian:
    """Means of the classes, and Σ = 1/n sum_i (z_i - μ_{y_i}) (z_i - μ_{y_i})ᵀ + ``shrinkage`` * I.

    ``features``: (n, d); ``labels``: (n,) of 0 … ``classes`` - 1. Fewer features than d make Σ singular but for the
    ``shrinkage``. Beyond the features, memory holds a few thousand of them; nothing waits for the device.
    """
    width = features.shape[1]
    sums, counts = features.new_zeros(classes, width, dtype=torch.float64), torch.bincount(labels, minlength=classes)
    for rows, of in _chunks(features, labels):
        sums += F.one_hot(of, classes).T.double() @ rows
    means = sums / counts.clamp(min=1)[:, None]
    scatter = features.new_zeros(width, width, dtype=torch.float64)
    for rows, of in _chunks(features, labels):
        centred = rows - means[of]
        scatter += centred.T @ centred
    covariance = scatter / len(features) + shrinkage * torch.eye(width, dtype=torch.float64, device=features.device)
    factor, failed = torch.linalg.cholesky_ex(covariance)
    return TiedGaussian(means, torch.where(failed == 0, factor, torch.nan))


def least_likely(gaussian: TiedGaussian, draws: int, generator: torch.Generator) -> Tensor:
    """Of ``draws`` draws from every class the one of least density: (C, d), float64. ``generator`` is a CPU one.

    A draw is μ_c + L ε with ε of N(0, I), and its density falls with |ε| alone; |ε|² is chi-squared with d degrees of
    freedom, and independent of ε's direction. So one direction is drawn, and the longest of ``draws`` lengths: with F the
    distribution of one, that of the longest is F^draws.
    """
    classes, width = gaussian.means.shape
    direction = F.normalize(torch.randn(classes, width, dtype=torch.float64, generator=generator), dim=1)
    exceeded = -torch.expm1(torch.rand(classes, 1, dtype=torch.float64, generator=generator).log() / draws)
    length = torch.as_tensor(chdtri(width, exceeded.numpy())).sqrt()
    return gaussian.means + (length * direction).to(gaussian.means.device) @ gaussian.factor.T


def _chunks(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return ((rows.double(), of) for rows, of in zip(features.split(ROWS_AT_ONCE), labels.split(ROWS_AT_ONCE)))
