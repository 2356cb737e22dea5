"""Is a painted outlier simply an ID image? CLIP's word on it, before anything is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import tokenize
from dogfast.engines.networks import Networks
from dogfast.synthesis.transfer import upload

LOOKS_ID = "looks ID"
Check = Callable[[torch.Tensor, list[int]], torch.Tensor]
"""Images uint8 (n, 3, H, W) and the conditions they were painted from, to whether each is refused: bool (n,) on their device."""


def id_check(pipeline: Pipeline, networks: Networks, prompt: str, conditions: list[dict[str, Any]]) -> Check:
    """An image is refused when it is nearer to an ID class's name than to the word it was painted from (zero-shot)."""
    names = list(dict.fromkeys(condition["class_name"] for condition in conditions))
    words = list(dict.fromkeys(condition["anchor"] for condition in conditions))
    place = torch.tensor([words.index(condition["anchor"]) for condition in conditions])

    def embedded(given: list[str]) -> torch.Tensor:
        ids = tokenize(pipeline.tokenizer, [prompt.replace("{}", word) for word in given])
        return F.normalize(networks.encode_text(ids)[1], dim=1)

    of_names, of_words = embedded(names), embedded(words)

    def check(images: torch.Tensor, rows: list[int]) -> torch.Tensor:
        seen = F.normalize(networks.encode_image(images), dim=1)
        to_word = (seen * of_words.index_select(0, upload(place[rows], networks.device))).sum(1)
        return (seen @ of_names.T).amax(1) > to_word

    return check
