"""What a round's classifier, the one before it and CLIP make of all that was painted so far, condition by condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from dogfast.data.codec import Codec
from dogfast.detection.detector import Detector
from dogfast.shards.format import shard_of
from dogfast.shards.selection import selected_by_shard
from dogfast.store import Place
from dogfast.workflows.refinement.looks import Looker


@dataclass(frozen=True)
class Tally:
    """Of a condition's ``images``: how many the round's classifier ``accepted`` as ID, how many are ``like_id`` to CLIP, and the
    median ``distance`` to the name of the class. Of those that are ``new`` in the round, how many are ``new_like_id``, and how many
    of the others had ``fooled`` the classifier before it learned from them: it is right to take for ID what is."""

    condition: int
    cls: int
    class_name: str
    anchor: str
    images: int
    accepted: int
    like_id: int
    distance: float
    new: int
    fooled: int
    new_like_id: int


@dataclass(frozen=True)
class _Seen:
    """A column an image: its condition, whether it is new, and what is made of it."""

    condition: Tensor
    new: Tensor
    fooled: Tensor
    accepted: Tensor
    like_id: Tensor
    distance: Tensor


def tally(
    folder: Place,
    codec: Codec,
    belongs: Callable[[dict[str, Any]], bool],
    first_new: int,
    before: Detector,
    now: Detector,
    look: Looker,
    advance: Callable[[int], None] = lambda images: None,
) -> list[Tally]:
    """Of every condition that has outliers in ``folder`` which ``belongs`` accepts, by its row.

    New are those from shard ``first_new`` on; ``before`` is asked about them alone. A shard at a time is in memory.
    """
    parts, told = [], {}
    for outliers in selected_by_shard(folder, now.side_px, codec, belongs):
        new = torch.tensor([shard_of(each["key"]) >= first_new for each in outliers.facts])
        looks, fooled = look(outliers.images, outliers.facts), torch.zeros(len(outliers), dtype=torch.bool)
        if new.any():
            fooled[new] = before(outliers.images[new]).known & ~looks.like_id[new]
        condition = torch.tensor([each["condition"] for each in outliers.facts])
        parts.append(_Seen(condition, new, fooled, now(outliers.images).known, looks.like_id, looks.distance))
        told |= {each["condition"]: (each["cls"], each["class_name"], each["anchor"]) for each in outliers.facts}
        advance(len(outliers))
    seen = _Seen(*(torch.cat([getattr(part, name) for part in parts]) for name in _Seen.__annotations__)) if parts else None
    return [_of(condition, told[condition], seen) for condition in sorted(told)]


def _of(condition: int, told: tuple[int, str, str], seen: _Seen) -> Tally:
    own = seen.condition == condition
    new = own & seen.new

    def count(flags: Tensor, among: Tensor) -> int:
        return int((flags & among).sum())

    return Tally(
        condition,
        *told,
        images=int(own.sum()),
        accepted=count(seen.accepted, own),
        like_id=count(seen.like_id, own),
        distance=round(float(seen.distance[own].quantile(0.5)), 6),
        new=int(new.sum()),
        fooled=count(seen.fooled, new),
        new_like_id=count(seen.like_id, new),
    )


def to_rows(tallies: list[Tally]) -> list[dict[str, Any]]:
    return [asdict(each) for each in tallies]
