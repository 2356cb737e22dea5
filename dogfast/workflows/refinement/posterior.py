"""Thompson sampling: who shall be painted more of.

The share of a condition's images, of whatever round, that fool the classifier before it learns from them, and do not look ID, has a
Beta posterior, from a uniform prior; images that it was trained on are no trial of what it has not seen. For every image
of the next round a share is drawn from the posterior of each condition of the class, and the condition with the highest paints it:
what fools the classifier most is painted most, and what was seldom tried is tried again (Thompson 1933; Russo et al. 2018, Sec. 3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dogfast.seeds import derive_seed


@dataclass(frozen=True)
class Tried:
    """A condition by its row: how many of its ``images`` ``fooled`` the classifier that had not learned from them, and do not look ID."""

    condition: int
    cls: int
    images: int
    fooled: int


def allot(tried: Sequence[Tried], more: Mapping[int, int], *purpose: str | int) -> dict[int, int]:
    """``more[cls]`` images of every class among its conditions: how many each is to paint, those with none left out.

    A class without a condition gets none. Draws are a function of ``purpose`` and the class.
    """
    counts: dict[int, int] = {}
    for cls in sorted({each.cls for each in tried}):
        own = sorted((each for each in tried if each.cls == cls), key=lambda each: each.condition)
        fooled, images = (np.array([getattr(each, name) for each in own]) for name in ("fooled", "images"))
        chance = np.random.default_rng(derive_seed("refine", *purpose, cls))
        drawn = chance.beta(1 + fooled, 1 + images - fooled, size=(more[cls], len(own)))
        won = np.bincount(drawn.argmax(1), minlength=len(own)).tolist()
        counts |= {each.condition: count for each, count in zip(own, won) if count}
    return counts
