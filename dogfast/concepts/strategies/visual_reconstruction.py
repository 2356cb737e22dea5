"""DOG's rival (a): ID images noised half-way and painted on under weak guidance by their class's prompt."""

from __future__ import annotations

from dogfast.concepts.strategies.findings import Condition, Findings

START_T = 500
WEAK_GUIDANCE = 1.0
"""The paper says "weakened" and no value: the conditional prediction alone."""


def visual_reconstruction(findings: Findings) -> list[Condition]:
    """One condition an ID image."""
    rng = findings.rng("visual-reconstruction")
    return [
        findings.condition(
            "visual-reconstruction",
            cls,
            key,
            [[findings.prompt_of(findings.class_names[cls]), 1.0]],
            start=[[key, 1.0]],
            start_t=START_T,
            guidance_scale=WEAK_GUIDANCE,
        )
        for cls in range(len(findings.image_keys))
        for key in findings.starts_of(cls, rng)
    ]
