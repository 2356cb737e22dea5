"""DOG on photographs: `python benchmarks/photographs.py DATA [--setting gpu|cpu] [--seeds 0,1,2] [--parts rows,table-1,…]`.

CIFAR-10 is ID, `mini` paints, and the strangers are the 40 classes of Tiny ImageNet that it never saw. DATA holds cifar10-train.tar,
cifar10-test.tar, tiny-imagenet32-train.tar and tiny-imagenet32-val.tar (class/number.jpg). Every seed is a run under
build/photographs; what stands is not done again, so that a killed benchmark goes on where it was. Each part (a file of `proof`)
writes its own into benchmarks/results/photographs.json. `rows` are of all seeds, on a GPU `causes`, `autoencoder`, the tables and
`gate` as well, the others of the first.
"""

import sys
from argparse import ArgumentParser
from functools import partial
from pathlib import Path
from typing import Any

from parts import keep
from proof.autoencoder import run_autoencoder
from proof.causes import run_causes
from proof.curve import run_curve
from proof.gate import run_gate
from proof.rows import run_rows
from proof.tables import run_table
from proof.unmatched import run_unmatched
from proof.world import SETTINGS, World
from tuning import chosen_precision

from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import versions

RESULT = Path(__file__).parent / "results" / "photographs.json"
PARTS = {
    "rows": run_rows,
    "causes": run_causes,
    "autoencoder": run_autoencoder,
    **{f"table-{number}": partial(run_table, number) for number in (1, 2, 4)},
    "unmatched": run_unmatched,
    "curve": run_curve,
    "gate": run_gate,
}


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--setting", choices=SETTINGS, default="cpu")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS))
    given = parser.parse_args()
    world, events = World(given.data, given.setting), Events(plain_lines(sys.stderr))
    for part in given.parts:
        keep(RESULT, part, PARTS[part](world, given.seeds, events) | facts(world))


def facts(world: World) -> dict[str, Any]:
    return {
        "setting": world.setting,
        "training": SETTINGS[world.setting]["training"],
        "hardware": hardware(chosen_precision(world.config(0))),
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
