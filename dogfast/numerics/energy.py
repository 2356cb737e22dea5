"""The free energy of a classifier's logits (Liu et al., "Energy-based Out-of-distribution Detection", NeurIPS 2020)."""

import torch


def log_sum_exp_energy(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """S = T · log Σ_k exp(f_k / T), the negative free energy of Liu et al. 2020, Eq. 4: larger = more ID.

    ``logits`` (..., C) of any float type, ``temperature`` > 0 in the logits' unit; returns (...) in fp32.
    Differentiable, and free of overflow: infinite only where a logit is.
    """
    assert temperature > 0, temperature
    return temperature * torch.logsumexp(logits.float() / temperature, dim=-1)
