"""Distance to the nearest class, its spread taken into account (Lee et al., NeurIPS 2018), on the features of the head."""

import torch
from torch import Tensor

from dogfast.classifiers.evidence import Evidence
from dogfast.errors import DataError
from dogfast.numerics.gaussian import fit_tied

SHRINKAGE = 1e-6
"""Added to the diagonal of Σ, in mean squared activations: fewer images than d, or units that are never active, would leave
it singular. It lets no direction weigh more than a million times what the features' own scale does."""


def fit(known: Evidence, labels: Tensor) -> dict[str, Tensor]:
    """Means of the classes that have images, and Σ of all of them, as what `score` needs: float64.

    ``whitening`` L⁻¹ (d, d), Σ = L Lᵀ, and ``centres`` L⁻¹ μ_c (C', d). ``labels``: (n,) of classes.
    Raises :class:`DataError` when every activation is zero.
    """
    features, classes = known.features, len(known.head_bias)
    mean_square = float(features.norm(dim=1).double().square().mean()) / features.shape[1]
    gaussian = fit_tied(features, labels, classes, SHRINKAGE * mean_square)
    if gaussian.factor.isnan().any():
        raise DataError(
            "mahalanobis: the features of the ID training images are all zero or too large to multiply; "
            "check the classifier, or leave mahalanobis out of --scores"
        )
    identity = torch.eye(features.shape[1], dtype=torch.float64)
    whitening = torch.linalg.solve_triangular(gaussian.factor, identity, upper=False).contiguous()
    present = torch.bincount(labels, minlength=classes) > 0
    return {"whitening": whitening, "centres": gaussian.means[present] @ whitening.T}


def score(evidence: Evidence, *, whitening: Tensor, centres: Tensor) -> Tensor:
    """S = max_c −½ (z − μ_c)ᵀ Σ⁻¹ (z − μ_c) = −½ min_c |L⁻¹z − L⁻¹μ_c|², (n,), made in float64."""
    white = evidence.features.double() @ whitening.T
    return -0.5 * torch.cdist(white, centres).amin(dim=-1).square().float()
