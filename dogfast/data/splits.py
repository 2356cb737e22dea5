"""Who belongs to validation: pure functions of names, so that training, tuning and scoring always agree."""

from __future__ import annotations

import hashlib
from typing import Any

from dogfast.data import shapes

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2
PAINTING_WORDS = ("dog", "textual-near-ood")
"""Strategies whose anchors are words of the vocabulary; the others' are ID images, classes or points between them."""


def _unit(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def is_validation_key(key: str) -> bool:
    """Whether the ID training image ``key`` is kept for validation (a tenth, by hash)."""
    return _unit(f"validation/{key}") < VALIDATION_SHARE


def is_test_key(key: str) -> bool:
    """Whether image ``key`` of a set without a test split of its own is kept for testing (a fifth, by hash)."""
    return _unit(f"test/{key}") < TEST_SHARE


def is_validation_word(word: str) -> bool:
    """Whether outliers of ``word`` validate and never train: the held-out validation shapes, else a tenth of all words."""
    if word in shapes.FIGURES:
        return word in shapes.VALIDATION_WORDS
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") % 10 == 0


def is_validation_outlier(facts: dict[str, Any]) -> bool:
    """Whether a painted outlier validates and never trains: one of a validation word."""
    return facts["strategy"] in PAINTING_WORDS and is_validation_word(facts["anchor"])


def may_train(facts: dict[str, Any]) -> bool:
    """Whether a training may learn from a painted outlier, or from what a condition paints."""
    return not is_validation_outlier(facts)
