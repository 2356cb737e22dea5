"""ODIN: softmax at a high temperature, of images moved against their loss (Liang et al., ICLR 2018)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.classifiers.moved import TEMPERATURE


def score(evidence: Evidence, *, magnitude: float) -> torch.Tensor:
    """S = max_k softmax(f(x~) / T)_k, (n,), T = 1000; x~ and the unit of ``magnitude`` are those of `moved_logits`.

    Made in float64: at this temperature S differs from 1/C in its last digits only.
    """
    logits = evidence.moved[magnitude] if magnitude else evidence.logits
    return (logits.double() / TEMPERATURE).softmax(dim=-1).amax(dim=-1).float()
