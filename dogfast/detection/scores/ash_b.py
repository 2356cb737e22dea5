"""Activation shaping to two values, ASH-B (Djurisic et al., "Extremely Simple Activation Shaping", ICLR 2023)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores.shaping import activations, head_energy, largest_entries


def score(evidence: Evidence, *, percentile: int) -> torch.Tensor:
    """Energy of the head on features whose k largest entries are all Σz / k and whose others are 0, (n,) fp32.

    ``percentile`` in [0, 100) is the share of z that is removed. An all-zero feature passes unchanged (S = LSE(b)).
    Raises :class:`DataError` when a feature is negative: the method needs activations behind a ReLU.
    """
    features = activations(evidence, "ash-b")
    _, where = largest_entries(features, percentile)
    level = features.sum(dim=-1, keepdim=True) / where.shape[-1]
    return head_energy(evidence, torch.zeros_like(features).scatter(-1, where, level.expand_as(where)))
