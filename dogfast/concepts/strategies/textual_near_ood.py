"""DOG's rival (e): words near the class *name* in the text space, without inversion and without Eq. 6."""

from __future__ import annotations

from dogfast.concepts.strategies.findings import Condition, Findings


def textual_near_ood(findings: Findings) -> list[Condition]:
    """K conditions a class, the nearest first."""
    return [
        findings.condition("textual-near-ood", cls, word, [[findings.prompt_of(word), 1.0]])
        for cls, words in enumerate(findings.near_names)
        for word in words
    ]
