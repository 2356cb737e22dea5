"""Activation shaping with scaling, ASH-S (Djurisic et al., "Extremely Simple Activation Shaping", ICLR 2023)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores.shaping import activations, head_energy, keep_largest, stretch


def score(evidence: Evidence, *, percentile: int) -> torch.Tensor:
    """Energy of the head on shaped features, (n,) fp32: a = the k largest entries of z, S = LSE(W·(a·e^r) + b), r = Σz / Σa.

    ``percentile`` in [0, 100) is the share of z that is removed. Where e^r leaves fp32, S may become infinite, never NaN.
    An all-zero feature passes unchanged (S = LSE(b)).
    Raises :class:`DataError` when a feature is negative: the method needs activations behind a ReLU.
    """
    features = activations(evidence, "ash-s")
    kept = keep_largest(features, percentile)
    return head_energy(evidence, kept, stretch(features, kept))
