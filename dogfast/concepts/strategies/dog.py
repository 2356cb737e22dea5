"""DOG: one prompt an anchor, from pure noise (DOG Eq. 7)."""

from __future__ import annotations

from dogfast.concepts.strategies.findings import Condition, Findings


def dog(findings: Findings) -> list[Condition]:
    """One condition an anchor."""
    return [
        findings.condition("dog", anchor["owner"], anchor["word"], [[findings.prompt_of(anchor["word"]), 1.0]])
        for anchor in findings.anchors
    ]
