"""CLIP's word on painted outliers: which of them look like ID images."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from dogfast.numerics.metrics import accepted_at_recall

ID_IMAGES = 10_000
"""At most so many tell what is usual of ID images."""


@dataclass(frozen=True)
class Looks:
    """Of n outliers: ``like_id``, whether CLIP takes each for an ID class rather than for its own word (zero-shot), as clearly as nearly
    all ID images, bool (n,); ``distance`` to the name of the class it was painted for, 1 - cosine, (n,)."""

    like_id: Tensor
    distance: Tensor


class Looker:
    """CLIP with the ID class names and the words of a run's conditions.

    How far an ID name is ahead of the word has to be told from how far it is for ID images: a CLIP that saw ten times as many pictures
    of the ID classes as of the words names nearly everything by them.
    """

    def __init__(self, config: RunConfig, data: IdData, words: Sequence[str], events: Events):
        pipeline = Pipeline(config.model, choose_model(config.model.model, config.data.classes).value)
        self.networks = open_networks(pipeline, config.model, events)
        embedder = Embedder(pipeline, self.networks, config.concepts.prompt, events)
        self.place = {word: row for row, word in enumerate(dict.fromkeys(words))}
        self.of_words = F.normalize(embedder.words(tuple(self.place)), dim=1)
        names = embedder.words(data.class_names)
        self.of_names = F.normalize(names, dim=1)
        pictures, labels, eta = embedder.images(data.train), data.train.labels, config.concepts.eta
        some = F.normalize(pictures[:: -(-len(pictures) // ID_IMAGES)], dim=1)
        self.leads = least_leads(some, self.of_names, self.of_words)
        self.bounds = {
            name: float(near_distances(names[y : y + 1], pictures[labels == y], eta)[0])
            for y, name in enumerate(data.class_names)
        }
        """Of every class, the distance under which its name has only the nearest of its images (Eq. 6's bound)."""

    def __call__(self, images: Tensor, facts: Sequence[dict[str, Any]]) -> Looks:
        """``images``: uint8 (n, 3, H, W)."""
        seen = F.normalize(torch.cat([self.networks.encode_image(some).float().cpu() for some in images.split(ROWS)]), dim=1)
        to_names = seen @ self.of_names.T
        word = [self.place[each["anchor"]] for each in facts]
        lead = to_names.amax(1) - (seen * self.of_words[word]).sum(1)
        own = torch.tensor([each["cls"] for each in facts])
        return Looks((lead > 0) & (lead >= self.leads[word]), 1 - to_names.gather(1, own[:, None])[:, 0])


def least_leads(pictures: Tensor, names: Tensor, words: Tensor) -> Tensor:
    """Of every word (W, P), by how much the nearest of ``names`` (C, P) is ahead of it, at least, for 95 % of the ID ``pictures``
    (n, P); rows of length 1. (W,)."""
    nearest, least = (pictures @ names.T).amax(1), len(pictures) - accepted_at_recall(len(pictures)) + 1
    return torch.stack([(nearest - pictures @ word).kthvalue(least).values for word in words])


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
