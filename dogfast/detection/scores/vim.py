"""A virtual logit from what of a feature lies outside of the ID images' principal space (Wang et al., "ViM:
Out-Of-Distribution with Virtual-logit Matching", CVPR 2022)."""

import torch
from torch import Tensor

from dogfast.classifiers.evidence import Evidence
from dogfast.errors import DataError
from dogfast.numerics.energy import log_sum_exp_energy

PRINCIPAL = {2048: 1000, 768: 512}
"""D of the paper for features at least so wide; half of narrower ones."""
ROWS_AT_ONCE = 2**14
NOTHING = 1e-9
"""Of the features' length: a residual up to it is rounding."""


def fit(known: Evidence, labels: Tensor) -> dict[str, Tensor | float]:
    """``origin`` o = −W⁺b (d,), ``residual`` R (d, d − D), the directions beyond the D principal ones of z − o, and ``alpha``.

    alpha = Σ max_k f_k / Σ |Rᵀ(z − o)| makes the virtual logit as large on average as the largest real one. D is at most
    half of the images. Float64. Raises :class:`DataError` where no feature has a part outside of the principal space.
    """
    origin = -torch.linalg.pinv(known.head_weight.double()) @ known.head_bias.double()
    count, width = known.features.shape
    scatter = torch.zeros(width, width, dtype=torch.float64)
    for rows in known.features.split(ROWS_AT_ONCE):
        centred = rows.double() - origin
        scatter += centred.T @ centred
    principal = next((space for least, space in PRINCIPAL.items() if width >= least), width // 2)
    residual = torch.linalg.eigh(scatter).eigenvectors[:, : width - min(principal, count // 2)].contiguous()
    parts = known.features.split(ROWS_AT_ONCE)
    outside = float(sum(_outside(rows, origin, residual).sum() for rows in parts))
    if outside <= NOTHING * count * float((scatter.trace() / count).sqrt()):
        raise DataError(
            "vim: the features of the ID training images have no part outside of their principal space; "
            "use more images (--id-images), or leave vim out of --scores"
        )
    alpha = float(known.logits.amax(dim=-1).sum(dtype=torch.float64)) / outside
    return {"origin": origin, "residual": residual, "alpha": alpha}


def score(evidence: Evidence, *, origin: Tensor, residual: Tensor, alpha: float) -> Tensor:
    """S = LSE(f) − alpha·|Rᵀ(z − o)|, (n,); orders images as the softmax of the virtual logit among the real ones does."""
    return log_sum_exp_energy(evidence.logits) - alpha * _outside(evidence.features, origin, residual).float()


def _outside(features: Tensor, origin: Tensor, residual: Tensor) -> Tensor:
    """|Rᵀ(z − o)|, (n,) float64."""
    return ((features.double() - origin) @ residual).norm(dim=1)
