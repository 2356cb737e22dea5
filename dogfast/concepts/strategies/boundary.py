"""Boundary sampling (NPOS, DREAM-OOD, OAL's k-NN outliers): points where a class's CLIP embeddings thin out, as words.

Per class: the images whose k-th neighbour is farthest; Gaussian noise around each; of it what lies farthest from the class.
A ridge regression, fitted on the vocabulary's pairs of projected text embedding and token embedding, turns such a point of the
shared space into a row that stands in the prompt's place for a word.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from dogfast.concepts.strategies.findings import Condition, Findings
from dogfast.numerics.neighbours import kth_distances

TABLE = "boundary"
NEIGHBOUR = 300
"""k, at most a tenth of a class's images."""
SEEDS, TRIES, KEPT = 50, 1500, 2
"""Images a class to start from, noises around each, points kept of each (OAL's k-NN latents)."""
DEVIATION = 0.07
RIDGE = 1e-3
"""Relative to the mean variance of the embeddings."""


def boundary(findings: Findings) -> list[Condition]:
    """One condition a row of the table."""
    return [
        findings.condition("boundary", cls, f"{findings.class_names[cls]} #{number}", [[{"table": TABLE, "row": row}, 1.0]])
        for cls, rows in enumerate(findings.boundary_rows)
        for number, row in enumerate(rows)
    ]


def boundary_points(pictures: torch.Tensor, seed: int) -> torch.Tensor:
    """Unit vectors at the edge of one class's image embeddings (n, P): (at most SEEDS x KEPT, P)."""
    pictures = F.normalize(pictures, dim=1)
    k = max(1, min(NEIGHBOUR, len(pictures) // 10))
    seeds = pictures[kth_distances(pictures, pictures, min(k + 1, len(pictures))).argsort(descending=True)[:SEEDS]]
    generator = torch.Generator().manual_seed(seed)
    found = []
    for point in seeds:
        tries = F.normalize(point + DEVIATION * torch.randn(TRIES, len(point), generator=generator), dim=1)
        found.append(tries[kth_distances(tries, pictures, k).argsort(descending=True)[:KEPT]])
    return torch.cat(found)


def word_rows(points: torch.Tensor, mean: torch.Tensor, texts: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Token rows (n, D) for ``points`` (n, P) of the image side, whose ``mean`` (P,) is that of all ID images.

    Fitted on words: projected text embeddings ``texts`` (W, P) and token ``rows`` (W, D). Both sides are centred, for images
    and texts lie apart in the shared space; a row is as long as tokens are on average.
    """
    texts = F.normalize(texts, dim=1).double()
    middle, typical = texts.mean(0), rows.double().mean(0)
    x, y = texts - middle, rows.double() - typical
    ridge = RIDGE * x.square().sum() / x.shape[1]
    weights = torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1], dtype=torch.float64), x.T @ y)
    found = (points.double() - mean.double()) @ weights + typical
    return (F.normalize(found, dim=1) * rows.double().norm(dim=1).mean()).float()
