"""The papers' tables on the embedded world, from nothing: `python benchmarks/compare.py`.

What `dogfast compare --classes shapes --jobs CORES` does in a new run with one seed, timed, into benchmarks/results/compare.json.
The run stays under build/compare.
"""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.environment import choose_training_precision, hardware, machine_cores
from dogfast.events import Events, plain_lines
from dogfast.run import Run, launch, publish, read_json, to_json, versions
from dogfast.shards.reader import read_records, sources_at
from dogfast.workflows.compare import compare
from dogfast.workflows.comparison.request import Comparison
from dogfast.workflows.comparison.settings import comparison_preset

RESULT = Path(__file__).parent / "results" / "compare.json"
JOBS = machine_cores()
WORK = Path(__file__).parents[1] / "build" / "compare"


def main() -> None:
    config = comparison_preset("shapes")
    shutil.rmtree(WORK, ignore_errors=True)
    with launch(WORK, config.to_toml()) as run:
        started = time.monotonic()
        result = compare(config, run, Events(plain_lines(sys.stderr)), Comparison(jobs=JOBS))
        found = {"total_s": round(time.monotonic() - started, 1), "seconds": seconds_of(run)}
    publish(RESULT, to_json(found | facts(config, result)))


def facts(config: RunConfig, result: dict[str, Any]) -> dict[str, Any]:
    """The tables that `compare` wrote, and what they were made with."""
    return {
        "failed": result["failed"],
        "jobs": JOBS,
        "outliers": config.synthesis.m,
        "training": {name: getattr(config.training, name) for name in ("backbone", "pretrain_epochs", "epochs")},
        "tables": {number: read_json(Path(files["json"])) for number, files in result["tables"].items()},
        "hardware": hardware(choose_training_precision("auto", "cpu").value),
        "versions": versions(),
    }


def seconds_of(run: Run) -> dict[str, Any]:
    """What painting, training and evaluating took, by what each left."""
    painted = [record["seconds"] for source in sources_at(run.store) for record in read_records(run.outliers(source))]
    trained = [read_json(path)["seconds"] for path in run.root.glob("classifiers/*/train.json")]
    evaluated = [read_json(path)["seconds"] for path in run.root.glob("evaluation/*/metrics.json")]
    kinds = {"painting": painted, "training": trained, "evaluating": evaluated}
    return {kind: round(sum(seconds), 1) for kind, seconds in kinds.items()} | {"classifiers": len(trained)}


if __name__ == "__main__":
    main()
