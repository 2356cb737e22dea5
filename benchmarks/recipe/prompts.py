"""What is said of every concept: each of its names in each template, as tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPTokenizer


@dataclass(frozen=True)
class Prompts:
    """``tokens``: int64 (p, T), the prompts of one concept after those of another and, last, the empty one.

    Those of concept c are ``count[c]`` rows from ``first[c]`` on, its first name in the first template leading.
    """

    tokens: Tensor
    first: Tensor
    count: Tensor

    def to(self, device: str) -> "Prompts":
        return Prompts(self.tokens.to(device), self.first.to(device), self.count.to(device))

    def draw(self, concepts: Tensor, generator: torch.Generator) -> Tensor:
        """A row of `tokens` for each of ``concepts`` (n,)."""
        chance = torch.rand(len(concepts), generator=generator, device=generator.device)
        return self.first[concepts] + (chance * self.count[concepts]).long()

    @property
    def empty(self) -> int:
        return len(self.tokens) - 1


def prompts_of(tokenizer: CLIPTokenizer, names: Sequence[Sequence[str]], templates: Sequence[str]) -> Prompts:
    """Of concepts with their ``names``, every name in every template."""
    said = [[template.format(name) for name in those for template in templates] for those in names]
    count = torch.tensor([len(each) for each in said])
    return Prompts(tokens_of(tokenizer, [*(text for each in said for text in each), ""]), count.cumsum(0) - count, count)


def tokens_of(tokenizer: CLIPTokenizer, prompts: list[str]) -> Tensor:
    """int64 (n, T), padded to the tokenizer's length."""
    return tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
