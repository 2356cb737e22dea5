"""CLIP's word on painted outliers: which of them look like ID images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.concepts.anchors import near_distances
from dogfast.concepts.embeddings import ROWS, Embedder
from dogfast.config import RunConfig
from dogfast.data.catalogue import IdData
from dogfast.diffusion.load import Pipeline, choose_model
from dogfast.engines.opening import open_networks
from dogfast.events import Events

ENOUGH = 10_000
"""Images whose mean says where outliers lie."""


@dataclass(frozen=True)
class Looks:
    """Of n outliers: ``like_id``, whether CLIP takes each for an ID class rather than for its own word (zero-shot), bool (n,);
    ``distance`` to the name of the class it was painted for, 1 - cosine, (n,)."""

    like_id: Tensor
    distance: Tensor


class Looker:
    """CLIP with the ID class names and the words of a run's conditions; ``painted``: chunks of its outliers, uint8 (n, 3, H, W).

    Of each name's and word's nearness counts what is beyond its mean over outliers (Zhou et al. 2023, distribution normalization):
    a CLIP that saw ten times as many pictures of the ID classes as of the words would else name nearly everything by them.
    """

    def __init__(self, config: RunConfig, data: IdData, words: Sequence[str], painted: Iterable[Tensor], events: Events):
        pipeline = Pipeline(config.model, choose_model(config.model.model, config.data.classes).value)
        self.networks = open_networks(pipeline, config.model, events)
        embedder = Embedder(pipeline, self.networks, config.concepts.prompt, events)
        self.place = {word: row for row, word in enumerate(dict.fromkeys(words))}
        self.of_words = F.normalize(embedder.words(tuple(self.place)), dim=1)
        names = embedder.words(data.class_names)
        self.of_names = F.normalize(names, dim=1)
        usual = self._mean(painted)
        self.usual_to_words, self.usual_to_names = self.of_words @ usual, self.of_names @ usual
        pictures, labels, eta = embedder.images(data.train), data.train.labels, config.concepts.eta
        self.bounds = {
            name: float(near_distances(names[y : y + 1], pictures[labels == y], eta)[0])
            for y, name in enumerate(data.class_names)
        }
        """Of every class, the distance under which its name has only the nearest of its images (Eq. 6's bound)."""

    def __call__(self, images: Tensor, facts: Sequence[dict[str, Any]]) -> Looks:
        """``images``: uint8 (n, 3, H, W)."""
        seen = self._embedded(images)
        to_names, word = seen @ self.of_names.T, [self.place[each["anchor"]] for each in facts]
        to_word = (seen * self.of_words[word]).sum(1)
        own = torch.tensor([each["cls"] for each in facts])
        like_id = (to_names - self.usual_to_names).amax(1) > to_word - self.usual_to_words[word]
        return Looks(like_id, 1 - to_names.gather(1, own[:, None])[:, 0])

    def _embedded(self, images: Tensor) -> Tensor:
        return F.normalize(torch.cat([self.networks.encode_image(some).float().cpu() for some in images.split(ROWS)]), dim=1)

    def _mean(self, painted: Iterable[Tensor]) -> Tensor:
        """The mean of the first `ENOUGH` of ``painted`` in CLIP's space, (P,)."""
        total, count = torch.zeros(self.of_names.shape[1]), 0
        for images in painted:
            total, count = total + self._embedded(images).sum(0), count + len(images)
            if count >= ENOUGH:
                break
        return total / max(1, count)


FEWEST = 3
"""Images by which a condition can be judged."""


def why_contaminant(images: int, like_id: int, distance: float, bound: float) -> str:
    """Why a condition is to be dropped, by the ``images`` it gave: ID to CLIP by most of them, or nearer to the class's name
    (median ``distance``) than nearly all ID images are (``bound``); empty where it is not, or gave too few to tell."""
    if images < FEWEST:
        return ""
    if like_id > images / 2:
        return f"CLIP takes {like_id} of its {images} images for ID classes"
    if distance < bound and not math.isnan(distance):
        return f"its images are nearer to the class's name (median distance {distance:.3f}) than the bound, {bound:.3f}"
    return ""
