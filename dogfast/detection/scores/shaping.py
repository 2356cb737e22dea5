"""What the scores of shaped features share: which entries are kept, and the energy of the head on what becomes of them."""

import torch
from torch import Tensor

from dogfast.classifiers.evidence import Evidence
from dogfast.errors import DataError
from dogfast.numerics.energy import log_sum_exp_energy

PERCENTILES = (65, 70, 75, 80, 85, 90, 95)
"""Shares of a feature that may be removed, for choosing one on validation."""


def activations(evidence: Evidence, name: str) -> Tensor:
    """The features (n, d) as fp32; :class:`DataError` naming score ``name`` when one is negative."""
    features = evidence.features.float()
    if not torch.compiler.is_exporting() and (features < 0).any():
        raise DataError(f"{name} needs features behind a ReLU, but some are negative; leave it out of --scores")
    return features


def keep_largest(features: Tensor, percentile: int) -> Tensor:
    """The k = d − round(d·percentile/100) largest entries of each row of ``features`` (n, d), at least one; others 0.

    Exactly k survive: among equal entries the lower index does. A new tensor; the input is not written to.
    """
    largest, where = largest_entries(features, percentile)
    return torch.zeros_like(features).scatter(-1, where, largest)


def largest_entries(features: Tensor, percentile: int) -> tuple[Tensor, Tensor]:
    """Of `keep_largest`, the entries that survive, largest first, and where they stand: (n, k) each."""
    assert 0 <= percentile < 100, percentile
    width = features.shape[-1]
    k = max(1, width - round(width * percentile / 100))
    largest, where = features.sort(dim=-1, descending=True, stable=True)
    return largest[..., :k], where[..., :k]


def stretch(features: Tensor, kept: Tensor) -> Tensor:
    """e^r, r = Σz / Σa, of each row of ``features`` z and of what is ``kept`` of them, a: (n, 1).

    r ≤ d/k: below d/k ≈ 88 the factor is finite in fp32; beyond, it stays at the largest float. 1 for an all-zero row.
    """
    before, after = features.sum(dim=-1, keepdim=True), kept.sum(dim=-1, keepdim=True)
    ratio = torch.where(after > 0, before / after, 0.0)
    return ratio.exp().clamp(max=torch.finfo(torch.float32).max)


def head_energy(evidence: Evidence, features: Tensor, factor: Tensor | float = 1.0) -> Tensor:
    """S = LSE(W·(factor·z) + b) of ``features`` z (n, d), (n,) fp32. The head is linear: ``factor`` (n, 1) multiplies W·z."""
    return log_sum_exp_energy(features @ evidence.head_weight.float().T * factor + evidence.head_bias.float())
