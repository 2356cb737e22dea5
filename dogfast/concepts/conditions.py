"""Conditions: what one outlier is painted from. A strategy is a pure function from the stage's findings to conditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Condition = dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """What strategies choose from: classes, vocabulary, the anchors of Eq. 6, and the prompt around a word."""

    class_names: tuple[str, ...]
    words: tuple[str, ...]
    anchors: list[dict[str, Any]]
    near_names: list[list[int]]
    """Of every class the words nearest to its *name* in the text space, K of them, the nearest first."""
    prompt: str


def dog(findings: Findings) -> list[Condition]:
    """DOG: one prompt an anchor, from pure noise."""
    return [_condition("dog", findings, anchor["owner"], anchor["word"]) for anchor in findings.anchors]


def textual_near_ood(findings: Findings) -> list[Condition]:
    """DOG's rival (e): the words nearest to the class *name* in the text space, without Eq. 6."""
    return [
        _condition("textual-near-ood", findings, cls, findings.words[word])
        for cls, words in enumerate(findings.near_names)
        for word in words
    ]


def id_control(findings: Findings) -> list[Condition]:
    """No outliers: the ID classes themselves as the generator paints them, to tell its handwriting from content."""
    return [_condition("id-control", findings, cls, name) for cls, name in enumerate(findings.class_names)]


STRATEGIES = {"dog": dog, "textual-near-ood": textual_near_ood, "id-control": id_control}


def _condition(strategy: str, findings: Findings, cls: int, word: str) -> Condition:
    return {
        "cls": cls,
        "class_name": findings.class_names[cls],
        "strategy": strategy,
        "anchor": word,
        "text": [[findings.prompt.replace("{}", word), 1.0]],
    }
