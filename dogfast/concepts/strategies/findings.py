"""What strategies choose from, and what they make of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from dogfast.seeds import derive_seed

Condition = dict[str, Any]
STARTS_AT_MOST = 20_000
"""Conditions of all classes together that begin at ID images."""


@dataclass(frozen=True)
class Findings:
    """Classes, anchors of Eq. 6, and the prompt around a word; what a search found besides is empty for edited anchors."""

    class_names: tuple[str, ...]
    anchors: list[dict[str, Any]]
    prompt: str
    near_names: list[list[str]] = field(default_factory=list)
    """Of every class the words nearest to its *name* in the text space, K of them, the nearest first."""
    image_keys: list[list[str]] = field(default_factory=list)
    """ID images of every class."""
    boundary_rows: list[list[int]] = field(default_factory=list)
    """Rows of the table `boundary` of every class."""
    seed: int = 0

    def rng(self, strategy: str) -> random.Random:
        return random.Random(derive_seed("strategy", self.seed, strategy))

    def prompt_of(self, word: str) -> str:
        return self.prompt.replace("{}", word)

    def condition(self, strategy: str, cls: int, anchor: str, text: list[list[Any]], **others: Any) -> Condition:
        plain = {"cls": cls, "class_name": self.class_names[cls], "strategy": strategy, "anchor": anchor, "text": text}
        return plain | others

    def starts_of(self, cls: int, rng: random.Random) -> list[str]:
        """ID images of a class to begin at, drawn where there are more than its share of `STARTS_AT_MOST`."""
        keys = self.image_keys[cls]
        return sorted(rng.sample(keys, min(len(keys), max(1, STARTS_AT_MOST // len(self.class_names)))))
