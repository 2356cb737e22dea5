"""Classes, pseudo-words and their words as points of a plane: the first two principal components of the text space."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from dogfast.concepts.anchors import Verdict

WORDS_AT_MOST = 1500
"""Anchors first, then the candidates nearest to their classes."""


def text_map(
    class_names: tuple[str, ...],
    names: torch.Tensor,
    queries: torch.Tensor,
    words: tuple[str, ...],
    vocabulary: torch.Tensor,
    verdicts: list[Verdict],
) -> list[dict[str, Any]]:
    """A row a point: ``kind`` (class, pseudo-word, anchor, candidate), ``name``, ``class_name``, ``x``, ``y`` in [-1, 1].

    ``names`` and ``queries`` (C, P) stand for the classes, ``vocabulary`` (W, P) for the words.
    """
    chosen = sorted(verdicts, key=lambda each: (bool(each.reason), each.distance, each.word))[:WORDS_AT_MOST]
    points = F.normalize(torch.cat([names, queries, vocabulary[[each.word for each in chosen]]]), dim=1).double()
    points = points - points.mean(0)
    _, _, axes = torch.linalg.svd(points, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()  # an axis has no sign of its own
    plane = points @ axes.T
    plane = plane / plane.abs().max().clamp(min=1e-12)
    labels = [("class", name, name) for name in class_names] + [("pseudo-word", name, name) for name in class_names]
    labels += [("candidate" if each.reason else "anchor", words[each.word], class_names[each.owner]) for each in chosen]
    return [
        {"kind": kind, "name": name, "class_name": owner, "x": round(x, 4), "y": round(y, 4)}
        for (kind, name, owner), (x, y) in zip(labels, plane.tolist(), strict=True)
    ]
