"""Do rounds help? `python benchmarks/refine.py [SEED …] [--photographs DATA]` (default 0 1 2), on the embedded world or on CIFAR-10.

At equal images and equal steps in all: one round against two and three, and beside these as many rounds that deal their images
evenly and drop nothing, so that what selection brings stands apart from what rounds bring. Every variant of a seed is an
ordinary run under build/refine; they share anchors, painted ID images and the starting classifier, on photographs those of
`photographs.py`. Judged on test sets, with the share of contaminants and validation's word round by round. Writes its world's part
of benchmarks/results/refine.json. What stands is not done again.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise, takewhile
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

from comparison import compare
from parts import keep
from proof.rows import SHARED
from proof.world import STRANGERS
from proof.world import World as Photographs
from scipy.stats import spearmanr
from tuning import chosen_precision

import dogfast.workflows.refinement.planning as planning
from dogfast.config import RunConfig
from dogfast.config.training import START
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.rounds import read_outcome
from dogfast.run import Run, launch, read_json, versions
from dogfast.shards.reader import count_samples
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_evaluate, run_id_control, run_train
from dogfast.workflows.comparison.inside import run_at, take_over
from dogfast.workflows.comparison.settings import comparison_preset
from dogfast.workflows.refine import of_round, refine
from dogfast.workflows.refinement.posterior import Tried
from dogfast.workflows.refinement.request import Refinement

RESULT = Path(__file__).parent / "results" / "refine.json"
WORK = Path(__file__).parents[1] / "build" / "refine"
SOURCE = "dog"


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


@dataclass(frozen=True)
class World:
    """``settings`` of a seed and the folder of what its variants share; ``outliers`` a class and ``epochs`` of tuning, in all rounds
    together; ``judged``: the sets whose mean decides; ``variants``: those that two cores have the time for."""

    name: str
    settings: Callable[[int], RunConfig]
    shared: Callable[[int], Path]
    outliers: int
    epochs: int
    judged: tuple[str, ...]
    variants: tuple[str, ...] = tuple(VARIANTS)

    def config(self, seed: int, variant: Variant) -> RunConfig:
        share = {"synthesis": {"m": self.outliers // variant.rounds}, "training": {"epochs": self.epochs // variant.rounds}}
        return self.settings(seed).with_values(share, "benchmark")


def shapes() -> World:
    judged = ("held-out-shapes", "glyphs")

    def settings(seed: int) -> RunConfig:
        seeds = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed}, "training": {"train_seed": seed}}
        return comparison_preset("shapes").with_values(seeds | {"detection": {"ood": judged}}, "benchmark")

    return World("shapes", settings, partial(place_of, "shapes"), 96, 6, judged)


def photographs(data: Path) -> World:
    """`oe`, which on photographs misses no more strangers than `dog`, costs less accuracy, and takes two cores half the time."""
    world = Photographs(data, "cpu")

    def shared(seed: int) -> Path:
        world.prepare()
        return world.of_seed(seed)

    chosen = tuple(name for name in VARIANTS if name != "three rounds, dealt evenly")
    return World("photographs", lambda seed: world.config(seed, "oe"), shared, 300, 6, (STRANGERS,), chosen)


@contextmanager
def dealing_evenly():
    """Rounds without selection: every condition paints as many, none is dropped."""

    def deal(tried: list[Tried], more: Mapping[int, int], *purpose: str | int) -> dict[int, int]:
        counts: dict[int, int] = {}
        for cls in {each.cls for each in tried}:
            fewest = sorted((each.images, each.condition) for each in tried if each.cls == cls)
            for turn in range(more[cls]):
                row = fewest[turn % len(fewest)][1]
                counts[row] = counts.get(row, 0) + 1
        return counts

    with patch.object(planning, "allot", deal), patch.object(planning, "why_contaminant", lambda *given: ""):
        yield


# --- one seed ---------------------------------------------------------------------------------------------------
@contextmanager
def prepared(world: World, seed: int, events: Events) -> Iterator[Run]:
    """What the variants share: the starting classifier, the anchors and the painted ID images."""
    start = world.settings(seed).with_values({"training": {"objective": START}}, "benchmark")
    with launch(world.shared(seed), start.to_toml()) as run:
        run_train(start, run, events)
        run_id_control(world.settings(seed), run, events)
        yield run


def run_seed(world: World, seed: int, events: Events) -> None:
    with prepared(world, seed, events) as common:
        for name in world.variants:
            variant = VARIANTS[name]
            config = world.config(seed, variant)
            with run_at(place_of(world.name, seed, name), config, common) as run:
                take_over(common, run, config, SHARED)
                _run(config, run, variant, events)


def _run(config: RunConfig, run: Run, variant: Variant, events: Events) -> None:
    with nullcontext() if variant.selects else dealing_evenly():
        refine(config, run, events, Refinement(rounds=variant.rounds, patience=variant.rounds))
    for number in range(1, variant.rounds + 1):
        found = of_round(config, number)
        if not run.metrics(classifier_of(config, number)).exists():
            run_evaluate(found, run, events)


def place_of(world: str, seed: int, name: str = "") -> Path:
    """The run of a seed, or of one of its variants."""
    root = WORK / world / f"seed-{seed}"
    return root / "variants" / name.replace(", ", "-").replace(" ", "-") if name else root


def _evenly(name: str) -> str:
    return f"{name}, dealt evenly"


def classifier_of(config: RunConfig, number: int) -> str:
    return classifier_name(of_round(config, number).training)


# --- all seeds --------------------------------------------------------------------------------------------------
def result(world: World, seeds: list[int]) -> dict[str, Any]:
    """The last round of every variant against one round, and how each round went."""
    runs = {name: [Run(place_of(world.name, seed, name)) for seed in seeds] for name in world.variants}
    folders = {
        name: [
            run.evaluation(classifier_of(world.config(seed, VARIANTS[name]), VARIANTS[name].rounds))
            for seed, run in zip(seeds, found)
        ]
        for name, found in runs.items()
    }
    return {
        "seeds": seeds,
        "scores": list(world.settings(0).detection.scores),
        "judged": list(world.judged),
        "order": list(folders),
        "outliers": world.outliers,
        "epochs": world.epochs,
        "rows": compare(folders, ("one round",), world.judged),
        "against_evenly": {
            name: compare({each: folders[each] for each in (name, _evenly(name))}, (_evenly(name),), world.judged)[name]
            for name in world.variants
            if _evenly(name) in world.variants
        },
        "painted": {name: [count_samples(run.outliers(SOURCE)) for run in found] for name, found in runs.items()},
        "told": {name: [read_json(run.refined(SOURCE)) for run in found] for name, found in runs.items()},
        "foretells": foretells([run for name, found in runs.items() if not VARIANTS[name].selects for run in found]),
    }


def foretells(runs: list[Run]) -> dict[str, float | None]:
    """What says which conditions of a class will fool the classifier next: ``accepted``, of images it was trained on, or ``fooled``, of
    as many images, each round's before they trained it. Spearman's rank correlation over the conditions of a class with the
    share of the next round's fresh images that fool it, the mean over classes and the rounds of all ``runs``, which deal evenly; None
    where there is no round to tell.
    """
    found: dict[str, list[float]] = {"accepted": [], "fooled": []}
    for run in runs:
        rounds_ = list(takewhile(bool, (read_outcome(run, SOURCE, number) for number in count(1))))
        for now, after in pairwise(rounds_):
            then = {row["condition"]: row["fooled"] / row["new"] for row in after["conditions"] if row["new"]}
            rows = [row for row in now["conditions"] if row["condition"] in then]
            for cls in {row["cls"] for row in rows}:
                own = [row for row in rows if row["cls"] == cls]
                fate = [then[row["condition"]] for row in own]
                for name, counted in (("accepted", "accepted"), ("fooled", "fooled_in_all")):
                    found[name].append(rank_correlation([row[counted] / row["images"] for row in own], fate))
    return {name: mean(values) if values else None for name, values in found.items()}


def rank_correlation(one: list[float], other: list[float]) -> float:
    """Spearman's; 0 where one of them is the same everywhere, and tells nothing."""
    return float(spearmanr(one, other).statistic) if len({*one}) > 1 and len({*other}) > 1 else 0.0


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--photographs", type=Path, metavar="DATA")
    given = parser.parse_args()
    world, events = photographs(given.photographs) if given.photographs else shapes(), Events(plain_lines(sys.stderr))
    for seed in given.seeds:
        run_seed(world, seed, events)
    facts = {"hardware": hardware(chosen_precision(world.settings(0))), "versions": versions()}
    keep(RESULT, world.name, result(world, given.seeds) | facts)


if __name__ == "__main__":
    main()
