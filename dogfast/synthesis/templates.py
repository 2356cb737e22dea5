"""Prompt templates: the same word in several sentences, so that its pictures differ in more than their noise."""

from __future__ import annotations

from typing import Any

from dogfast.config.option import require
from dogfast.data.splits import PAINTING_WORDS


def require_words(flag: str, strategy: str) -> None:
    """Raise :class:`UsageError` for a strategy whose outliers are of no word, which ``flag`` needs."""
    require(strategy in PAINTING_WORDS, f"{flag} needs outliers that are painted of a word; --strategy {strategy} has none")


def with_templates(conditions: list[dict[str, Any]], templates: tuple[str, ...]) -> list[dict[str, Any]]:
    """Every condition once with each of ``templates`` around its anchor; without templates, the conditions as they are.

    Neighbours get different templates, and every condition has had its turn before the first comes again.
    """
    if not templates:
        return conditions
    return [
        condition | {"text": [[templates[(turn + place) % len(templates)].replace("{}", condition["anchor"]), 1.0]]}
        for turn in range(len(templates))
        for place, condition in enumerate(conditions)
    ]
