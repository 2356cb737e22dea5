"""DOG's outliers against its rivals': `python benchmarks/strategies.py [SEED …]` (default 0 1 2).

Every seed is a run under build/strategies with the preset of `shapes`: one starting classifier, which the objective `dog`
tunes on as many images of every strategy. Then the seeds are compared with the strategy `dog`, into
benchmarks/results/strategies.json. What stands is not done again.
"""

import sys
from pathlib import Path

from comparison import compare

from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.config.synthesis import STRATEGIES
from dogfast.environment import choose_training_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import Run, launch, publish, to_json, versions
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import read_records
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_evaluate, run_id_control

RESULT = Path(__file__).parent / "results" / "strategies.json"
WORK = Path(__file__).parents[1] / "build" / "strategies"
JUDGED = ("held-out-shapes", "glyphs")
"""The sets whose mean decides."""
RIVALS = tuple(strategy for strategy in STRATEGIES if strategy != ID_CONTROL)


def settings(seed: int, objective: str = "ce", strategy: str = "dog") -> RunConfig:
    values = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed}, "detection": {"ood": JUDGED}}
    values |= {"training": {"train_seed": seed, "objective": objective, "outliers": strategy}}
    return preset("shapes").with_values(values, "benchmark")


def rows(seed: int) -> dict[str, RunConfig]:
    """What is evaluated: the starting classifier, and one tuned on every strategy's outliers."""
    return {"ce": settings(seed)} | {strategy: settings(seed, "dog", strategy) for strategy in RIVALS}


def run_seed(seed: int) -> None:
    events = Events(plain_lines(sys.stderr))
    with launch(WORK / f"seed-{seed}", settings(seed).to_toml()) as run:
        run_id_control(settings(seed), run, events)  # before anything is evaluated: it is part of every evaluation
        for config in rows(seed).values():
            if not run.metrics(classifier_name(config.training)).exists():
                run_evaluate(config, run, events)


def outliers_of(seed: int) -> dict[str, int]:
    """How many images each strategy painted; they are to be as many."""
    run = Run(WORK / f"seed-{seed}")
    counts = {name: sum(record["samples"] for record in read_records(run.outliers(name))) for name in RIVALS}
    assert len(set(counts.values())) == 1, f"seed {seed}: strategies of unequal numbers of images, {counts}"
    return counts


def main(seeds: list[int]) -> None:
    for seed in seeds:
        run_seed(seed)
    folders = {
        name: [Run(WORK / f"seed-{seed}").evaluation(classifier_name(rows(seed)[name].training)) for seed in seeds]
        for name in rows(seeds[0])
    }
    result = {
        "seeds": seeds,
        "scores": list(settings(0).detection.scores),
        "order": list(folders),
        "rows": compare(folders, ("dog",), JUDGED),
        "outliers": outliers_of(seeds[0])["dog"],
        "hardware": hardware(choose_training_precision("auto", "cpu").value),
        "versions": versions(),
    }
    publish(RESULT, to_json(result))


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [0, 1, 2])
