"""Maximum softmax probability (Hendrycks and Gimpel, ICLR 2017)."""

import torch

from dogfast.classifiers.evidence import Evidence


def score(evidence: Evidence) -> torch.Tensor:
    """S = max_k softmax(f)_k, (n,) in [1/C, 1]; fp32 rounds very confident images to a tie at 1, as in the papers."""
    return evidence.logits.float().softmax(dim=-1).amax(dim=-1)
