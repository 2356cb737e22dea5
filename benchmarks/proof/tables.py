"""One of the papers' tables on photographs: what `dogfast compare` makes in the first seed's run, with its real images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from proof.rows import prepared
from proof.world import World

from dogfast.environment import machine_cores
from dogfast.events import Events
from dogfast.run import read_json
from dogfast.workflows.compare import compare
from dogfast.workflows.comparison.request import Comparison


def run_table(number: int, world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    seed = seeds[0]
    with prepared(world, seed, events) as run:
        request = Comparison(
            seeds=tuple(world.beside_rows(seeds)), tables=(number,), auxiliary=str(world.real(seed)), jobs=machine_cores()
        )
        found = compare(world.config(seed), run, events, request)
    return {
        "failed": found["failed"],
        "tables": {number: read_json(Path(files["json"])) for number, files in found["tables"].items()},
    }
