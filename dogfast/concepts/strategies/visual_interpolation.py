"""DOG's rival (c): latents between those of two ID images, noised half-way and painted on without a prompt."""

from __future__ import annotations

from dogfast.concepts.strategies.findings import Condition, Findings
from dogfast.concepts.strategies.visual_reconstruction import START_T

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7)
UNGUIDED = 1.0


def visual_interpolation(findings: Findings) -> list[Condition]:
    """One condition an ID image: mixed with one of another class (of its own where there is one class), at a drawn share."""
    rng, classes = findings.rng("visual-interpolation"), range(len(findings.image_keys))
    found = []
    for cls in classes:
        others = [key for other in classes if other != cls for key in findings.image_keys[other]] or findings.image_keys[cls]
        for key in findings.starts_of(cls, rng):
            share, partner = rng.choice(SHARES), rng.choice(others)
            found.append(
                findings.condition(
                    "visual-interpolation",
                    cls,
                    f"{key} {share} {partner}",
                    [["", 1.0]],
                    start=[[key, share], [partner, round(1 - share, 6)]],
                    start_t=START_T,
                    guidance_scale=UNGUIDED,
                )
            )
    return found
