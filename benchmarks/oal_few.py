"""Do a few latents teach as much as a few images? `python benchmarks/oal_few.py [SEED …]` (default 0 1 2).

Every seed is a run under build/oal-few with the settings of `compare`: one starting classifier, tuned by `oal` on the first 100,
300 and 1,000 latents that may train, and by `dog` on as many images of the same plan, in as many steps. Beside FPR95 stands what
h is worth: the share of the features' variance it explains of ID images it was not fitted on, and of the painted outliers, whose
images are known here. Writes benchmarks/results/oal-few.json. What stands is not done again.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from comparison import compare
from tuning import chosen_precision, few, score, starting_classifier, tuned

from dogfast.classifiers.evidence import collect_evidence, images_together
from dogfast.config import RunConfig
from dogfast.config.synthesis import fields_of
from dogfast.config.training import START
from dogfast.data.catalogue import IdData, load_id
from dogfast.detection.measure import Sets, load_sets
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import Run, launch, publish, read_json, to_json, versions
from dogfast.training.latent_features import LatentFeatures
from dogfast.training.sources import source_of, training_outliers
from dogfast.workflows.chain import run_generate, run_id_control, run_train
from dogfast.workflows.comparison.settings import comparison_preset

RESULT = Path(__file__).parent / "results" / "oal-few.json"
WORK = Path(__file__).parents[1] / "build" / "oal-few"
COUNTS = (100, 300, 1000)
PAINTED = 160
"""A class, so that the largest count may train beside what validates."""
JUDGED = ("held-out-shapes", "glyphs")
"""The sets whose mean decides."""
IMAGES, LATENTS = "dog", "oal"


def settings(seed: int, objective: str = START) -> RunConfig:
    values = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed, "m": PAINTED}, "detection": {"ood": JUDGED}}
    values |= {"training": {"train_seed": seed, "objective": objective}}
    return comparison_preset("shapes").with_values(values, "benchmark")


def row(objective: str, count: int) -> str:
    return f"{objective} {count}"


def rows() -> dict[str, tuple[str, int]]:
    """Objective and outliers of every tuned row."""
    return {row(objective, count): (objective, count) for count in COUNTS for objective in (IMAGES, LATENTS)}


# --- one seed ---------------------------------------------------------------------------------------------------
def run_seed(seed: int, events: Events) -> None:
    """Start, outliers of both kinds, and every row that does not stand yet."""
    with launch(place_of(seed), settings(seed).to_toml()) as run:
        run_train(settings(seed), run, events)
        run_id_control(settings(seed), run, events)
        for objective in (IMAGES, LATENTS):
            config = settings(seed, objective)
            run_generate(config.with_values({"synthesis": fields_of(source_of(config.training))}, "benchmark"), run, events)
        data = load_id(settings(seed).data)
        sets = load_sets(settings(seed), run, data, {name: name for name in JUDGED})
        for name in (START, *rows()):
            if not (folder_of(seed, name) / "metrics.json").exists():
                _measure(seed, name, run, data, sets, events)
        if not (place_of(seed) / "worth.json").exists():
            publish(place_of(seed) / "worth.json", to_json(_worth(seed, run, data, events)))


def place_of(seed: int) -> Path:
    return WORK / f"seed-{seed}"


def folder_of(seed: int, name: str) -> Path:
    return place_of(seed) / "rows" / name


def _measure(seed: int, name: str, run: Run, data: IdData, sets: Sets, events: Events) -> None:
    """Tune a row where it is tuned at all, and score it."""
    if name == START:
        model = starting_classifier(settings(seed), run)
    else:
        objective, count = rows()[name]
        config = settings(seed, objective)
        model = tuned(config, run, data, few(training_outliers(config, run, data, events), count), events, name)
    score(model, sets, settings(seed), folder_of(seed, name))


def _worth(seed: int, run: Run, data: IdData, events: Events) -> dict[str, float]:
    """R² of h on ID images it was not fitted on, and on all painted outliers."""
    model = starting_classifier(settings(seed), run)
    painted, pictured = (training_outliers(settings(seed, name), run, data, events) for name in (LATENTS, IMAGES))
    known, strange = (
        collect_evidence(model, images, images_together(images.shape[3]), "cpu", "fp32").features
        for images in (data.train.images, pictured.rows)
    )
    torch.manual_seed(seed)
    h = LatentFeatures(tuple(painted.rows.shape[1:]), known.shape[1])
    h.fit(painted.id_latents, known, seed)
    return {"id": float(h.r2), "outliers": float(h.explained(painted.rows, strange))}


# --- all seeds --------------------------------------------------------------------------------------------------
def result(seeds: list[int]) -> dict[str, Any]:
    """Every row against the start, and `oal` against `dog` at every number of outliers."""
    folders = {name: [folder_of(seed, name) for seed in seeds] for name in (START, *rows())}
    against = {}
    for count in COUNTS:
        pair = {name: folders[name] for name in (row(IMAGES, count), row(LATENTS, count))}
        against[str(count)] = compare(pair, (row(IMAGES, count),), JUDGED)[row(LATENTS, count)]["judged"]
    return {
        "seeds": seeds,
        "counts": list(COUNTS),
        "scores": list(settings(0).detection.scores),
        "order": list(folders),
        "rows": compare(folders, (START,), JUDGED),
        "oal_against_dog": against,
        "h_explains": [read_json(place_of(seed) / "worth.json") for seed in seeds],
    }


def main(seeds: list[int]) -> None:
    events = Events(plain_lines(sys.stderr))
    for seed in seeds:
        run_seed(seed, events)
    facts = {"hardware": hardware(chosen_precision(settings(0))), "versions": versions()}
    publish(RESULT, to_json(result(seeds) | facts))


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [0, 1, 2])
