"""The latest features of every class, kept over steps and in every checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ClassQueue(nn.Module):
    """``length`` features (d,) a class, the oldest making room for the newest.

    A class whose images are few is expected to give fewer: its queue is full earlier, and repeats them.
    """

    rows: Tensor
    seen: Tensor
    lengths: Tensor

    def __init__(self, classes: int, length: int, width: int):
        super().__init__()
        self.register_buffer("rows", torch.zeros(classes, length, width))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("lengths", torch.full((classes,), length))

    def expect(self, labels: Tensor, times: int) -> None:
        """Let a queue count as full once it holds as much as ``labels`` (n,) bring in ``times`` passes, if that is less."""
        brought = torch.bincount(labels, minlength=len(self.seen)) * times
        self.lengths.copy_(brought.clamp(1, self.rows.shape[1]))

    @property
    def full(self) -> Tensor:
        """Whether every queue is, a scalar on the device."""
        return (self.seen >= self.lengths).all()

    @property
    def features(self) -> Tensor:
        """(C, length, d), without gaps once all are full."""
        places = torch.arange(self.rows.shape[1], device=self.rows.device) % self.lengths[:, None]
        return self.rows[torch.arange(len(places), device=self.rows.device)[:, None], places]

    @torch.no_grad()
    def push(self, features: Tensor, labels: Tensor) -> None:
        """Take in ``features`` (n, d) with ``labels`` (n,), in their order; none of them where one is not finite.

        Nothing waits for the device. Of several that would lie in one place, each writes the last of them.
        """
        places = (self.seen[labels] + turns(labels)) % self.lengths[labels]
        order = torch.arange(len(labels), device=labels.device)
        same = (labels[:, None] == labels) & (places[:, None] == places)
        last = torch.where(same, order, -1).amax(1)
        finite = features.isfinite().all()
        self.rows[labels, places] = torch.where(finite, features[last].to(self.rows.dtype), self.rows[labels, places])
        self.seen += finite * F.one_hot(labels, len(self.seen)).sum(0)


def turns(labels: Tensor) -> Tensor:
    """How often each label (n,) occurred before: (n,) from 0."""
    return (labels[:, None] == labels).tril(-1).sum(1)
