"""Do rounds help? `python benchmarks/refine.py [SEED …]` (default 0 1 2).

At equal images and equal steps in all: one round against two and three, and beside these as many rounds that deal their images
evenly and drop nothing, so that what selection brings stands apart from what rounds bring. Every variant of a seed is an
ordinary run under build/refine; they share anchors, painted ID images and the starting classifier. Judged on test sets, with the
share of contaminants and validation's word round by round. Writes benchmarks/results/refine.json. What stands is not done again.
"""

import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from comparison import compare

import dogfast.workflows.refinement.rounds as rounds
from dogfast.config import RunConfig
from dogfast.config.training import START
from dogfast.environment import choose_training_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import Run, launch, publish, read_json, to_json, versions
from dogfast.shards.format import ID_CONTROL
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_evaluate, run_id_control, run_train
from dogfast.workflows.comparison.inside import run_at, take_over
from dogfast.workflows.comparison.settings import comparison_preset
from dogfast.workflows.refine import of_round, refine
from dogfast.workflows.refinement.posterior import Tried
from dogfast.workflows.refinement.request import Refinement

RESULT = Path(__file__).parent / "results" / "refine.json"
WORK = Path(__file__).parents[1] / "build" / "refine"
OUTLIERS, EPOCHS = 96, 6
"""A class, and of tuning, in all rounds together."""
JUDGED = ("held-out-shapes", "glyphs")
"""The sets whose mean decides."""
SOURCE, SHARED = "dog", ("concepts", f"synthesis/{ID_CONTROL}")


@dataclass(frozen=True)
class Variant:
    rounds: int
    selects: bool = True


VARIANTS = {
    "one round": Variant(1),
    "two rounds": Variant(2),
    "three rounds": Variant(3),
    "two rounds, dealt evenly": Variant(2, selects=False),
    "three rounds, dealt evenly": Variant(3, selects=False),
}


def settings(seed: int, variant: Variant) -> RunConfig:
    share = {"synthesis": {"m": OUTLIERS // variant.rounds}, "training": {"epochs": EPOCHS // variant.rounds}}
    seeds = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed}, "training": {"train_seed": seed}}
    config = comparison_preset("shapes").with_values(share, "benchmark").with_values(seeds, "benchmark")
    return config.with_values({"detection": {"ood": JUDGED}}, "benchmark")


@contextmanager
def dealing_evenly():
    """Rounds without selection: every condition paints as many, none is dropped."""

    def deal(tried: list[Tried], more: int, *purpose: str | int) -> dict[int, int]:
        counts: dict[int, int] = {}
        for cls in {each.cls for each in tried}:
            fewest = sorted((each.images, each.condition) for each in tried if each.cls == cls)
            for turn in range(more):
                row = fewest[turn % len(fewest)][1]
                counts[row] = counts.get(row, 0) + 1
        return counts

    with patch.object(rounds, "allot", deal), patch.object(rounds, "why_contaminant", lambda *given: ""):
        yield


# --- one seed ---------------------------------------------------------------------------------------------------
def run_seed(seed: int, events: Events) -> None:
    shared = settings(seed, VARIANTS["one round"]).with_values({"training": {"objective": START}}, "benchmark")
    with launch(place_of(seed), shared.to_toml()) as common:
        run_train(shared, common, events)
        run_id_control(shared, common, events)
        run_evaluate(shared, common, events)
        for name, variant in VARIANTS.items():
            config = settings(seed, variant)
            with run_at(place_of(seed, name), config, common) as run:
                take_over(common, run, config, SHARED)
                _run(config, run, variant, events)


def _run(config: RunConfig, run: Run, variant: Variant, events: Events) -> None:
    with nullcontext() if variant.selects else dealing_evenly():
        refine(config, run, events, Refinement(rounds=variant.rounds, patience=variant.rounds))
    for number in range(1, variant.rounds + 1):
        found = of_round(config, number)
        if not (run.evaluation(classifier_of(config, number)) / "metrics.json").exists():
            run_evaluate(found, run, events)


def classifier_of(config: RunConfig, number: int) -> str:
    return classifier_name(of_round(config, number).training)


def place_of(seed: int, name: str = "") -> Path:
    root = WORK / f"seed-{seed}"
    return root / "variants" / name.replace(", ", "-").replace(" ", "-") if name else root


# --- all seeds --------------------------------------------------------------------------------------------------
def result(seeds: list[int]) -> dict[str, Any]:
    """The last round of every variant against one round, and how each round went."""
    runs = {name: [Run(place_of(seed, name)) for seed in seeds] for name in VARIANTS}
    folders = {
        name: [
            run.evaluation(classifier_of(settings(seed, VARIANTS[name]), VARIANTS[name].rounds))
            for seed, run in zip(seeds, found)
        ]
        for name, found in runs.items()
    }
    return {
        "seeds": seeds,
        "scores": list(settings(0, VARIANTS["one round"]).detection.scores),
        "order": list(folders),
        "outliers": OUTLIERS,
        "epochs": EPOCHS,
        "rows": compare(folders, ("one round",), JUDGED),
        "told": {name: [read_json(run.refined(SOURCE)) for run in found] for name, found in runs.items()},
    }


def main(seeds: list[int]) -> None:
    events = Events(plain_lines(sys.stderr))
    for seed in seeds:
        run_seed(seed, events)
    facts = {"hardware": hardware(choose_training_precision("auto", "cpu").value), "versions": versions()}
    publish(RESULT, to_json(result(seeds) | facts))


if __name__ == "__main__":
    main(list(map(int, sys.argv[1:])) or [0, 1, 2])
