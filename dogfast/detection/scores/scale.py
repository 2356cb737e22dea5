"""Scaling of whole features (Xu et al., "Scaling for Training Time and Post-hoc Out-of-distribution Detection", ICLR 2024)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores.shaping import activations, head_energy, keep_largest, stretch


def score(evidence: Evidence, *, percentile: int) -> torch.Tensor:
    """S = LSE(W·(z·e^r) + b), (n,) fp32; r = Σz / Σa with a the k largest entries of z, of which nothing is removed.

    ``percentile`` in [0, 100) is the share of z that a leaves out. Where e^r leaves fp32, S may become infinite, never NaN.
    An all-zero feature passes unchanged (S = LSE(b)).
    Raises :class:`DataError` when a feature is negative: the method needs activations behind a ReLU.
    """
    features = activations(evidence, "scale")
    return head_energy(evidence, features, stretch(features, keep_largest(features, percentile)))
