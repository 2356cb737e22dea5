"""Rectified activations (Sun et al., "ReAct: Out-of-distribution Detection With Rectified Activations", NeurIPS 2021)."""

import numpy as np
import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores.shaping import head_energy

PERCENTILE = 90
ACTIVATIONS_AT_MOST = 2**27
"""Of more, a percentile is taken over evenly spaced images: half a gigabyte is enough for it."""


def fit(known: Evidence, labels: torch.Tensor) -> dict[str, float]:
    """The ``threshold`` below which 90 % of all activations of ``known`` lie (interpolated between two of them)."""
    every = -(-known.features.numel() // ACTIVATIONS_AT_MOST)
    return {"threshold": float(np.quantile(known.features[::every].numpy(), PERCENTILE / 100))}


def score(evidence: Evidence, *, threshold: float) -> torch.Tensor:
    """Energy of the head on features clipped from above: S = LSE(W·min(z, threshold) + b), (n,) fp32."""
    return head_energy(evidence, evidence.features.float().clamp(max=threshold))
