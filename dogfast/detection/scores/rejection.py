"""The log-odds of the known classes against the class of outliers (ATOM; Chen et al. 2021, arXiv 2006.15207)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.numerics.energy import log_sum_exp_energy


def score(evidence: Evidence) -> torch.Tensor:
    """S = log Σ_k exp(f_k) - f_{K+1}, (n,): log p / (1 - p) of p, the probability of any of the K known classes.

    Orders images as 1 - p(K+1) does, which rounds to a tie at 1.
    """
    assert evidence.rejection is not None
    return log_sum_exp_energy(evidence.logits) - evidence.rejection
