"""Candidates: per class the K words nearest to its pseudo-word in the text space (DOG Eq. 5)."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def text_cosines(pseudo_words: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """cos(T(prompt(s_y)), T(prompt(w))): (C, W) from projected embeddings (C, P) and (W, P)."""
    return F.normalize(pseudo_words, dim=1) @ F.normalize(words, dim=1).T


def nearest_words(cosines: torch.Tensor, top_k: int) -> torch.Tensor:
    """Indices of the ``top_k`` largest cosines of each row of (C, W), largest first: (C, K), K at most W."""
    return cosines.topk(min(top_k, cosines.shape[1]), dim=1).indices


def choose_candidates(cosines: torch.Tensor, top_k: int) -> torch.Tensor:
    """C_y of Eq. 5 for every class: bool (C, W), true for the ``top_k`` largest cosines of a row (all where W is smaller)."""
    chosen = torch.zeros_like(cosines, dtype=torch.bool)
    return chosen.scatter_(1, nearest_words(cosines, top_k), True)
