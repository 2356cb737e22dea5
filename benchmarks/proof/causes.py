"""Why: {oe, dog} on {words alone, anchors of Eq. 6, real photographs}, and without painted ID images beside the real ones."""

from __future__ import annotations

from typing import Any

from proof.rows import REAL_ID, ROWS, Row, compare_rows
from proof.world import REAL, World

from dogfast.events import Events

CAUSES = ROWS | {
    "oe+textual-near-ood": Row("oe", "textual-near-ood"),
    "oe, real ID alone": Row("oe", variant=REAL_ID),
    "dog, real ID alone": Row("dog", variant=REAL_ID),
    "dog+real": Row("dog", REAL),
}


def run_causes(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    return compare_rows(world, world.beside_rows(seeds), CAUSES, events)
