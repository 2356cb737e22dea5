"""Anchors that name classes of the test sets: a detector that learned from them was told what it will be asked."""

from __future__ import annotations

from typing import Any

from dogfast.config import RunConfig
from dogfast.data.catalogue import named_ood, names_in_ood
from dogfast.data.nouns import folded
from dogfast.events import Events


def tell_of_overlap(anchors: list[dict[str, Any]], config: RunConfig, events: Events) -> dict[str, list[str]]:
    """By OOD set of ``config`` the anchors that name one of its classes; a note says how to leave them out."""
    words = {folded(anchor["word"]): anchor["word"] for anchor in anchors}
    found = {}
    for name, entry in named_ood(config.detection.ood, config.data).items():
        shared = sorted({words[word] for each in names_in_ood(entry, config.data) if (word := folded(each)) in words})
        if shared:
            found[name] = shared
            flags = " ".join(f"--exclude-words {word!r}" for word in shared[:3])
            events.say(f"note: {len(shared)} anchors name classes of the OOD set {entry} ({flags} … leaves them out)")
    return found
