"""Every training method on the embedded world: `python benchmarks/objectives.py [SEED …]` (default 0 1 2).

Table 1 of `dogfast compare --classes shapes` over seeds, at equal images through the network, in the run that
benchmarks/compare.py leaves: what stands there is not done again. Writes benchmarks/results/objectives.json.
"""

import sys
from pathlib import Path

from compare import JOBS, WORK, facts

from dogfast.data.catalogue import load_id
from dogfast.events import Events, plain_lines
from dogfast.run import launch, publish, to_json
from dogfast.workflows.compare import compare
from dogfast.workflows.comparison.passes import passes_given
from dogfast.workflows.comparison.request import Comparison
from dogfast.workflows.comparison.settings import comparison_preset

RESULT = Path(__file__).parent / "results" / "objectives.json"


def main(seeds: tuple[int, ...]) -> None:
    config = comparison_preset("shapes")
    with launch(WORK, config.to_toml()) as run:
        result = compare(config, run, Events(plain_lines(sys.stderr)), Comparison(seeds=seeds, tables=(1,), jobs=JOBS))
    images = {"images": round(passes_given(config, len(load_id(config.data).train)))}
    publish(RESULT, to_json(facts(config, result) | images))


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or (0, 1, 2))
