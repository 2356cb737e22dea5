"""Every training method on the embedded world: `python benchmarks/objectives.py [SEED …]` (default 0 1 2).

Each method sees as many images: those of the starting classifier's training and of a tuning on DOG's outliers, counted as the
network sees them (every view, every attack's step; a second look of `dog` and `doe` at the same batch is not). Methods that train from scratch get them all at once. Every seed is a run
under build/objectives with the preset of `shapes`; what stands is not done again. Writes benchmarks/results/objectives.json.
"""

import sys
from pathlib import Path

from comparison import compare

from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.config.training import OBJECTIVES, START
from dogfast.data.catalogue import load_id
from dogfast.environment import choose_training_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import Run, launch, publish, read_json, to_json, versions
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_evaluate, run_id_control
from dogfast.workflows.comparison.passes import at_equal_passes, passes_given

RESULT = Path(__file__).parent / "results" / "objectives.json"
WORK = Path(__file__).parents[1] / "build" / "objectives"
JUDGED = ("held-out-shapes", "glyphs")
"""The sets whose mean decides."""


def settings(seed: int, objective: str = START) -> RunConfig:
    values = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed}, "detection": {"ood": JUDGED}}
    values |= {"training": {"train_seed": seed, "objective": objective}}
    return preset("shapes").with_values(values, "benchmark")


def id_images(seed: int) -> int:
    return len(load_id(settings(seed).data).train)


def configured(seed: int, objective: str) -> RunConfig:
    """A method at equal images: its epochs from scratch are as many as these give."""
    return at_equal_passes(settings(seed, objective), id_images(seed))


def run_seed(seed: int) -> None:
    events = Events(plain_lines(sys.stderr))
    with launch(WORK / f"seed-{seed}", settings(seed).to_toml()) as run:
        run_id_control(settings(seed), run, events)  # before anything is evaluated: it is part of every evaluation
        for objective in OBJECTIVES:
            config = configured(seed, objective)
            if not (run.evaluation(classifier_name(config.training)) / "metrics.json").exists():
                run_evaluate(config, run, events)


def folders(seeds: list[int], kind: str) -> dict[str, list[Path]]:
    """By objective, a folder a seed."""
    return {
        objective: [
            getattr(Run(WORK / f"seed-{seed}"), kind)(classifier_name(settings(seed, objective).training)) for seed in seeds
        ]
        for objective in OBJECTIVES
    }


def main(seeds: list[int]) -> None:
    for seed in seeds:
        run_seed(seed)
    records = {name: read_json(places[0] / "train.json") for name, places in folders(seeds, "classifier").items()}
    result = {
        "seeds": seeds,
        "scores": list(settings(0).detection.scores),
        "order": list(OBJECTIVES),
        "rows": compare(folders(seeds, "evaluation"), (START,), JUDGED),
        "epochs": {name: len(record["history"]) for name, record in records.items()},
        "images": round(passes_given(settings(seeds[0]), id_images(seeds[0]))),
        "hardware": hardware(choose_training_precision("auto", "cpu").value),
        "versions": versions(),
    }
    publish(RESULT, to_json(result))


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [0, 1, 2])
