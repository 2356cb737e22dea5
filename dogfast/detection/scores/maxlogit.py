"""The largest logit (Hendrycks et al., "Scaling Out-of-Distribution Detection for Real-World Settings", ICML 2022)."""

import torch

from dogfast.classifiers.evidence import Evidence


def score(evidence: Evidence) -> torch.Tensor:
    """S = max_k f_k, (n,)."""
    return evidence.logits.float().amax(dim=-1)
