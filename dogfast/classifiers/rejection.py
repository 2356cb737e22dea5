"""A class more than there are: what is none of them (ATOM's K+1st, after Chen et al. 2021, arXiv 2006.15207)."""

from __future__ import annotations

from torch import nn


def add_rejection(model: nn.Module) -> None:
    """Register ``model.rejection``, a linear layer from the features to one logit.

    The logits of all K + 1 classes are ``cat([model.head(f), model.rejection(f)], 1)``; ``forward`` still gives K.
    """
    model.rejection = nn.Linear(model.head.in_features, 1)
