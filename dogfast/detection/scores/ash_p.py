"""Activation shaping by pruning alone, ASH-P (Djurisic et al., "Extremely Simple Activation Shaping", ICLR 2023)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores.shaping import activations, head_energy, keep_largest


def score(evidence: Evidence, *, percentile: int) -> torch.Tensor:
    """Energy of the head on the k largest entries of each feature, the others being 0: (n,) fp32.

    ``percentile`` in [0, 100) is the share of z that is removed. An all-zero feature passes unchanged (S = LSE(b)).
    Raises :class:`DataError` when a feature is negative: the method needs activations behind a ReLU.
    """
    return head_energy(evidence, keep_largest(activations(evidence, "ash-p"), percentile))
