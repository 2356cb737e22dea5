"""Candidates: per class the K words nearest to its pseudo-word in the text space (DOG Eq. 5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

COSINES_AT_ONCE = 2**26


@dataclass(frozen=True)
class Candidates:
    """C_y of every class: indices of its words (C, K), the nearest first, and their cosines (C, K)."""

    words: torch.Tensor
    cosines: torch.Tensor


def nearest_words(queries: torch.Tensor, words: torch.Tensor, top_k: int) -> Candidates:
    """The ``top_k`` words (W, P) of largest cosine to each of ``queries`` (C, P); all words where W is smaller.

    Go by chunks of classes: at most `COSINES_AT_ONCE` cosines are held at once, beside the words.
    """
    words, top_k = F.normalize(words, dim=1), min(top_k, len(words))
    chunks = F.normalize(queries, dim=1).split(max(1, COSINES_AT_ONCE // len(words)))
    found = [(chunk @ words.T).topk(top_k, dim=1) for chunk in chunks]
    return Candidates(torch.cat([each.indices for each in found]), torch.cat([each.values for each in found]))
