"""Does a faster recipe teach as well? `python benchmarks/recipes.py [SEED …]` (default 0 1 2).

On the embedded world with the settings of `compare`: outliers of the same conditions by every recipe, as many of each, `dog`
tuned on them, FPR95 beside the seconds that painting took. Every seed is a run under build/recipes/RECIPE; what stands is not done again. Writes
benchmarks/results/recipes.json.
"""

import sys
from pathlib import Path
from statistics import median
from typing import Any

from comparison import compare

from dogfast.config import RunConfig
from dogfast.environment import choose_training_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import Run, launch, publish, to_json, versions
from dogfast.shards.reader import read_records
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_evaluate, run_id_control
from dogfast.workflows.comparison.settings import comparison_preset

RESULT = Path(__file__).parent / "results" / "recipes.json"
WORK = Path(__file__).parents[1] / "build" / "recipes"
JUDGED = ("held-out-shapes", "glyphs")
"""The sets whose mean decides."""
PUBLISHED = "paper"
RECIPES: dict[str, dict[str, Any]] = {
    PUBLISHED: {"recipe": "paper"},
    "quality": {"recipe": "quality"},
    "quality, guided on the first half": {"recipe": "quality", "guidance_stop": 0.5},
}
OWN = {"solver": None, "steps": None, "guidance_scale": None, "guidance_start": None, "guidance_stop": None, "decoder": None}
"""What these settings say of recipes is left out: each is taken as it is named."""


def settings(seed: int, recipe: str, objective: str = "dog") -> RunConfig:
    values = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed} | OWN | RECIPES[recipe]}
    values |= {"training": {"train_seed": seed, "objective": objective}, "detection": {"ood": JUDGED}}
    return comparison_preset("shapes").with_values(values, "benchmark")


def place(seed: int, recipe: str) -> Path:
    return WORK / f"{list(RECIPES).index(recipe)}" / f"seed-{seed}"


def run_row(seed: int, recipe: str) -> None:
    events = Events(plain_lines(sys.stderr))
    with launch(place(seed, recipe), settings(seed, recipe).to_toml()) as run:
        run_id_control(settings(seed, recipe), run, events)  # before anything is evaluated: it is part of every evaluation
        for objective in ("ce", "dog") if recipe == PUBLISHED else ("dog",):
            config = settings(seed, recipe, objective)
            if not run.metrics(classifier_name(config.training)).exists():
                run_evaluate(config, run, events)


def seconds_an_image(seeds: list[int], recipe: str) -> float:
    """The median over shards and seeds."""
    records = [record for seed in seeds for record in read_records(Run(place(seed, recipe)).outliers("dog"))]
    return median(record["seconds"] / record["samples"] for record in records)


def evaluations(seeds: list[int], recipe: str, objective: str) -> list[Path]:
    names = [classifier_name(settings(seed, recipe, objective).training) for seed in seeds]
    return [Run(place(seed, recipe)).evaluation(name) for seed, name in zip(seeds, names)]


def main(seeds: list[int]) -> None:
    for seed in seeds:
        for recipe in RECIPES:
            run_row(seed, recipe)
    folders = {recipe: evaluations(seeds, recipe, "dog") for recipe in RECIPES}
    result = {
        "seeds": seeds,
        "outliers": settings(0, PUBLISHED).synthesis.m,
        "scores": list(settings(0, PUBLISHED).detection.scores),
        "order": ["ce", *RECIPES],
        "published": PUBLISHED,
        "rows": compare({"ce": evaluations(seeds, PUBLISHED, "ce")} | folders, (PUBLISHED,), JUDGED),
        "seconds_an_image": {recipe: seconds_an_image(seeds, recipe) for recipe in RECIPES},
        "hardware": hardware(choose_training_precision("auto", "cpu").value),
        "versions": versions(),
    }
    publish(RESULT, to_json(result))


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [0, 1, 2])
