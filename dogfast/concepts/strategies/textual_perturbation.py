"""DOG's rival (b): the class's own prompt with Gaussian noise of deviation 0.3 on its token states."""

from __future__ import annotations

from dogfast.concepts.strategies.findings import Condition, Findings

DEVIATION = 0.3


def textual_perturbation(findings: Findings) -> list[Condition]:
    """One condition a class; every image has noise of its own."""
    return [
        findings.condition("textual-perturbation", cls, name, [[findings.prompt_of(name), 1.0]], text_noise=DEVIATION)
        for cls, name in enumerate(findings.class_names)
    ]
