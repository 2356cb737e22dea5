"""Does the model know the user's images at all? CLIP names them, before anything is spent."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from dogfast.events import Events

LEAST_SKILL = 0.3
"""Of what a perfect namer would gain over chance (Cohen's kappa for even classes)."""


def check_domain(names: torch.Tensor, pictures: torch.Tensor, labels: torch.Tensor, events: Events) -> float:
    """Zero-shot accuracy of CLIP on the ID images (n, P) by the class names (C, P); says it, and warns when it is poor."""
    units = F.normalize(names, dim=1)
    right = sum(int(((chunk @ units.T).argmax(1) == own).sum()) for chunk, own in zip(pictures.split(4096), labels.split(4096)))
    accuracy, chance = right / len(labels), 1 / len(names)
    events.say(f"CLIP names {accuracy:.1%} of the ID images right by their class names (chance {chance:.1%})")
    if len(names) > 1 and (accuracy - chance) / (1 - chance) < LEAST_SKILL:
        events.say(
            "warning: this model hardly knows these images, so its near words and outliers may miss them; give classes plain "
            "English names, or choose a --model of this domain"
        )
    return accuracy
