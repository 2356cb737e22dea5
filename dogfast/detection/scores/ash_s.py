"""Activation shaping with scaling, ASH-S (Djurisic et al., "Extremely Simple Activation Shaping", ICLR 2023)."""

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.environment import Choice
from dogfast.errors import DataError
from dogfast.numerics.energy import log_sum_exp_energy
from dogfast.numerics.metrics import auroc

PERCENTILES = (65, 70, 75, 80, 85, 90, 95)


def score(evidence: Evidence, *, percentile: int) -> torch.Tensor:
    """Energy of the head on shaped features, (n,) fp32: a = the k largest entries of z, S = LSE(W·(a·e^r) + b), r = Σz / Σa.

    ``percentile`` in [0, 100) is the share of z that is removed. The head is linear, so e^r multiplies W·a instead of a.
    r ≤ d/k: below d/k ≈ 88 the factor is finite in fp32; beyond, it stays at the largest float and S may become
    infinite, never NaN. An all-zero feature passes unchanged (S = LSE(b)).
    Raises :class:`DataError` when a feature is negative: the method needs activations behind a ReLU.
    """
    features = evidence.features.float()
    if (features < 0).any():
        raise DataError("ash-s needs features behind a ReLU, but some are negative; leave it out of --scores")
    kept = keep_largest(features, percentile)
    before, after = features.sum(dim=-1, keepdim=True), kept.sum(dim=-1, keepdim=True)
    ratio = torch.where(after > 0, before / after, 0.0)
    factor = ratio.exp().clamp(max=torch.finfo(torch.float32).max)
    return log_sum_exp_energy(kept @ evidence.head_weight.float().T * factor + evidence.head_bias.float())


def keep_largest(features: torch.Tensor, percentile: int) -> torch.Tensor:
    """The k = d − round(d·percentile/100) largest entries of each row of ``features`` (n, d), at least one; others 0.

    Exactly k survive: among equal entries the lower index does. A new tensor; the input is not written to.
    """
    assert 0 <= percentile < 100, percentile
    width = features.shape[-1]
    k = max(1, width - round(width * percentile / 100))
    largest, where = features.sort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(features).scatter(-1, where[..., :k], largest[..., :k])


def choose_ash_percentile(val_id: Evidence, val_ood: Evidence) -> Choice[int]:
    """The percentile of :data:`PERCENTILES` with the best validation AUROC; the smaller of equals.

    Give it validation sets only: chosen on a test set, the row of ASH would leak.
    """
    # Rounded far below one pair's weight, so that equal AUROCs are equal whatever the order of their sums.
    aurocs = {p: round(auroc(score(val_id, percentile=p), score(val_ood, percentile=p)), 12) for p in PERCENTILES}
    best = max(PERCENTILES, key=lambda p: (aurocs[p], -p))
    listed = ", ".join(map(str, PERCENTILES))
    return Choice(best, f"best validation AUROC ({100 * aurocs[best]:.2f} %) of {listed}")
