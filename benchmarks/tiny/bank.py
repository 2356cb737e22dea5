"""The renders everything is trained on, painted once and kept in memory as uint8."""

from collections.abc import Sequence

import numpy as np
import torch
from recipe.bank import Bank, to_signed
from settings import RENDERS_PER_WORD, SEED, WORDS

from dogfast.data import shapes


def paint_bank(split: str, per_word: int = RENDERS_PER_WORD, words: Sequence[str] = WORDS) -> Bank:
    """Renders of every word, each as likely as any other."""
    images = np.stack([shapes.render(word, split, SEED, i) for word in words for i in range(per_word)])
    labels = torch.arange(len(words)).repeat_interleave(per_word)
    return Bank(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels, torch.ones(len(labels)))


def vary(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """uint8 (n, 3, H, W) to float in [-1, 1], mirrored and with colour channels permuted at random."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    channels = torch.rand(len(images), 3, generator=generator).argsort(1)
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    images = torch.gather(images, 1, channels[:, :, None, None].expand_as(images))
    return to_signed(images)
