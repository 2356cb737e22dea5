"""Free energy as a score (Liu et al., NeurIPS 2020, Eq. 4)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.numerics.energy import log_sum_exp_energy


def score(evidence: Evidence, *, temperature: float = 1.0) -> torch.Tensor:
    """S = T · log Σ_k exp(f_k / T), (n,)."""
    return log_sum_exp_energy(evidence.logits, temperature)
