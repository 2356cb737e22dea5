"""DOG's rival (d): token states between those of two class names."""

from __future__ import annotations

from dogfast.concepts.strategies.findings import Condition, Findings

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)
PARTNERS = 20
"""Other classes that one class is mixed with, at most."""


def textual_interpolation(findings: Findings) -> list[Condition]:
    """Every class with others (all, or some drawn), at five shares of itself. With a single class there is nothing to mix."""
    rng, names = findings.rng("textual-interpolation"), findings.class_names
    found = []
    for cls, name in enumerate(names):
        others = [other for other in range(len(names)) if other != cls]
        for other in sorted(rng.sample(others, min(PARTNERS, len(others)))):
            for share in SHARES:
                text = [[findings.prompt_of(name), share], [findings.prompt_of(names[other]), round(1 - share, 6)]]
                found.append(findings.condition("textual-interpolation", cls, f"{name} {share} {names[other]}", text))
    return found
