"""Run the demo and keep its figures: `python benchmarks/demo.py` writes benchmarks/results/demo.json."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dogfast.environment import choose_training_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import launch, publish, to_json, versions
from dogfast.workflows.demo import demo, demo_config, demo_table

RESULTS = Path(__file__).parent / "results"


def main(seed: int = 0) -> None:
    config = demo_config(seed)
    with TemporaryDirectory() as place, launch(Path(place) / "demo", config.to_toml()) as run:
        result = demo(config, run, Events(plain_lines(sys.stderr)))
    print(demo_table(result))
    kept = {key: result[key] for key in ("outliers", "seconds", "total_s")}
    kept["evaluations"] = {
        name: {k: found[k] for k in ("id_accuracy", "rows", "artefact_control")}
        for name, found in result["evaluations"].items()
    }
    kept["hardware"] = hardware(choose_training_precision("auto", "cpu").value)
    publish(RESULTS / "demo.json", to_json(kept | {"seed": seed, "versions": versions()}))


if __name__ == "__main__":
    main(*map(json.loads, sys.argv[1:]))
