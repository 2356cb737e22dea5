"""Conditions: what one outlier is painted from. A strategy is a pure function from anchors to conditions."""

from __future__ import annotations

from typing import Any


def dog(anchors: list[dict[str, Any]], prompt: str) -> list[dict[str, Any]]:
    """DOG: one prompt an anchor, from pure noise."""
    return [
        {
            "cls": anchor["owner"],
            "class_name": anchor["class_name"],
            "strategy": "dog",
            "anchor": anchor["word"],
            "text": [[prompt.replace("{}", anchor["word"]), 1.0]],
        }
        for anchor in anchors
    ]


STRATEGIES = {"dog": dog}
