"""Distance to the k-th nearest ID training image (Sun et al., "Out-of-Distribution Detection with Deep Nearest Neighbors",
ICML 2022); on a backbone trained with `supcon` the paper calls it KNN+."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.classifiers.evidence import Evidence
from dogfast.numerics.neighbours import kth_unit_distances
from dogfast.seeds import stream

NEIGHBOURS = {10: 50, 100: 200}
"""k of the paper for so many classes at most (CIFAR-10, CIFAR-100), with all training images in the bank."""
NEIGHBOURS_OF_MORE = 1000


def fit(known: Evidence, labels: Tensor, share: float = 1.0) -> dict[str, Tensor | int]:
    """``bank`` (m, d), the features of a ``share`` of the images, drawn at random, at length 1; and the paper's ``k`` for it.

    A zero feature stays zero. As in the paper k shrinks with the bank (1000 of all of ImageNet's images, 10 of 1 %).
    """
    rows = max(1, round(share * len(known.features)))
    drawn = torch.randperm(len(known.features), generator=stream("knn"))[:rows] if share < 1 else slice(None)
    k = next((k for classes, k in NEIGHBOURS.items() if len(known.head_bias) <= classes), NEIGHBOURS_OF_MORE)
    return {"bank": F.normalize(known.features[drawn].float(), dim=1), "k": min(rows, max(1, round(share * k)))}


def score(evidence: Evidence, *, bank: Tensor, k: int) -> Tensor:
    """S = −|ẑ − ẑ_(k)|, (n,) in [−2, 0]; ẑ = z / |z|, ẑ_(k) the k-th nearest of ``bank``."""
    return -kth_unit_distances(F.normalize(evidence.features.float(), dim=1), bank, k)
