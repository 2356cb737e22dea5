"""Does DOG work in the embedded world? `python benchmarks/demo_seeds.py [SEED …]` (default 0 1 2).

Every seed is a run under build/demo-seeds: 5,000 ID images, 5,000 outliers, one starting classifier, and the rows of
`ROWS` tuned from it. Then every seed found there is compared: means, spreads, a paired bootstrap against the better of
the two `ce` rows, and verdicts, into benchmarks/results/demo-seeds.json. What stands is not done again.

Nothing is chosen here. What was chosen (the preset of `shapes` and `TRAINING`) was chosen on validation words and on
words left out of the outliers.
"""

import json
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from comparison import compare

from dogfast.classifiers.evidence import Evidence, collect_evidence, images_together
from dogfast.classifiers.loading import load_classifier
from dogfast.concepts.stage import find_anchors
from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.config.synthesis import STRATEGIES
from dogfast.data import shapes
from dogfast.data.catalogue import IdData, load_id
from dogfast.data.codec import Lossless
from dogfast.detection.measure import Sets, load_sets, measure
from dogfast.detection.table import save_scores
from dogfast.environment import choose_training_precision, hardware, processor_count
from dogfast.errors import DataError
from dogfast.events import Events, plain_lines
from dogfast.run import Run, digest, launch, publish, read_json, to_json, versions
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import read_records
from dogfast.synthesis.stage import generate
from dogfast.training.batches import Outliers
from dogfast.training.id_synthetic import mixed_id
from dogfast.training.loop import Machine, fit
from dogfast.training.names import start_name
from dogfast.training.regimes import regime_of
from dogfast.training.sources import source_digest, training_outliers
from dogfast.training.stage import train
from dogfast.workflows.chain import run_id_control

RESULTS = Path(__file__).parent / "results"
WORK = Path(__file__).parents[1] / "build" / "demo-seeds"
ID_IMAGES, OUTLIERS_PER_CLASS, OOD_IMAGES = 5000, 625, 2000
TRAINING = {"backbone": "wrn-10-1", "epochs": 8}
"""Other than the preset's: so many images fill a smaller network, which leaves `ce` something to gain."""
EPOCHS_OF_REAL_IMAGES = round(TRAINING["epochs"] / (1 - preset("shapes").training.id_synthetic))
"""As many steps without ID-class samples as `TRAINING` takes with them."""
SETS = ("held-out-shapes", "glyphs", "stripes", "checkers", "noise")
JUDGED = ("held-out-shapes", "glyphs")
"""The sets whose mean FPR95 decides."""
BASELINES = ("ce", "ce+steps")
TRUE_PICTURES = "dog+renders"
MAIN = "main"


@dataclass(frozen=True)
class Row:
    """One classifier: what it is tuned with, and the world (`WORLDS`) whose outliers it sees."""

    objective: str
    outliers: str = "dog"
    world: str = MAIN
    training: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, Any] = field(default_factory=dict)
    match_codec: bool = True


WORLDS: dict[str, dict[str, dict[str, Any]]] = {
    MAIN: {},
    "class-name": {"concepts": {"inversion_steps": 0}},
}
"""How the concepts were found: as the preset says; without textual inversion."""

ROWS: dict[str, Row] = {
    "ce+steps": Row("ce"),
    "oe+noise": Row("oe", "noise"),
    "oe": Row("oe"),
    "dog": Row("dog"),
    "dog descend": Row("dog", methods={"wor_sign": "descend"}),
    "dog alternate": Row("dog", methods={"wor_step": "alternate"}),
    "dog alternate descend": Row("dog", methods={"wor_step": "alternate", "wor_sign": "descend"}),
    TRUE_PICTURES: Row("dog", "renders"),
    "dog+textual-near-ood": Row("dog", "textual-near-ood"),
}
INGREDIENTS: dict[str, Row] = {
    "without textual inversion": Row("dog", world="class-name"),
    "without Eq. 6": Row("dog", "textual-near-ood"),
    "without perturbation": Row("oe"),
    "without codec matching": Row("dog", match_codec=False),
    "without ID-class samples": Row("dog", training={"id_synthetic": 0.0, "epochs": EPOCHS_OF_REAL_IMAGES}),
}
"""`dog` less one thing each, at as many steps. What is a row of `ROWS` already is not trained twice (`home`)."""
TABLES = {"rows": ROWS, "ingredients": INGREDIENTS}


# --- one seed ---------------------------------------------------------------------------------------------------
def run_seed(seed: int, table: str, events: Events) -> None:
    """Paint and train the start, then tune and score the rows of ``table`` that do not stand yet, a thread and process each."""
    config, place, rows = settings(seed), place_of(seed), TABLES[table]
    with launch(place / MAIN, config.to_toml()) as run:
        _timed(place, table, "start", lambda: _start(config, run, place, events))
        for world, strategy in dict.fromkeys((row.world, row.outliers) for row in rows.values() if row.outliers in STRATEGIES):
            _timed(place, table, f"paint {world} {strategy}", lambda w=world, s=strategy: _paint(config, place, w, s, events))
        left = [name for name in dict.fromkeys(home(place, name) for name in reversed(rows)) if not _stands(place, name)]
        _timed(place, table, "rows", lambda: _measure_all(seed, left))


def _measure_all(seed: int, names: list[str]) -> None:
    """One process a core; the long rows stand last in the tables and are given first."""
    with ProcessPoolExecutor(processor_count(), get_context("spawn"), _begin_worker) as pool:
        for name, seconds in zip(names, pool.map(measure_row, [seed] * len(names), names)):
            print(f"seed {seed}: {name} in {seconds:.0f} s", flush=True)


def _begin_worker() -> None:
    """One thread for torch; and no worker outlives its parent, however that ends."""
    torch.set_num_threads(1)
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _stands(place: Path, name: str) -> bool:
    """Whether a row is measured, with the settings and images of today."""
    path = place / "rows" / name / "metrics.json"
    return path.exists() and read_json(path)["identity"] == row_identity(place, name)


def home(place: Path, name: str) -> str:
    """The row of `ROWS` that ``name`` is the same as, else ``name``: a world that found the same conditions is the main one."""
    row = INGREDIENTS.get(name)
    if row and row.world != MAIN and _same_conditions(place, row.world):
        row = replace(row, world=MAIN)
    return next((known for known, each in ROWS.items() if each == row), name)


def row_identity(place: Path, name: str) -> str:
    """What a row's figures depend on: its settings, the start it was tuned from, and the images it and its control saw."""
    row = (ROWS | INGREDIENTS).get(name, Row("ce"))
    main, config = Run(place / MAIN), settings(seed_of(place))
    start = read_json(main.classifier(start_name(config.training)) / "train.json")["sha256"]
    outliers = "" if row.objective == "ce" else source_digest(Run(place / row.world), row.outliers)
    return digest(name, asdict(row), SETS, config.to_toml(), start, outliers, source_digest(main, ID_CONTROL))


def place_of(seed: int) -> Path:
    return WORK / f"seed-{seed}"


def seed_of(place: Path) -> int:
    return int(place.name.removeprefix("seed-"))


def settings(seed: int) -> RunConfig:
    values = {"data": {"id_images": ID_IMAGES}, "synthesis": {"m": OUTLIERS_PER_CLASS, "seed": seed}}
    values |= {"detection": {"ood_images": OOD_IMAGES, "corrupted_images": 0}, "concepts": {"concepts_seed": seed}}
    values |= {"training": TRAINING | {"train_seed": seed}}
    return preset("shapes").with_values(values, "benchmark")


def _start(config: RunConfig, run: Run, place: Path, events: Events) -> None:
    """Anchors, ID-class images, and the classifier that every row starts from, scored as the row `ce`."""
    train(config.with_values({"training": {"objective": "ce"}}, "benchmark"), run, events)
    run_id_control(config, run, events)
    if not _stands(place, "ce"):
        _score(_start_model(config, run), seed_of(place), place / "rows" / "ce")


def _paint(config: RunConfig, place: Path, world: str, strategy: str, events: Events) -> None:
    chosen = config.with_values(WORLDS[world] | {"synthesis": {"strategy": strategy}}, world)
    if world == MAIN:
        generate(chosen, Run(place / MAIN), events)
        return
    with launch(place / world, chosen.to_toml()) as run:
        find_anchors(chosen, run, events)
        if not _same_conditions(place, world):
            generate(chosen, run, events)


def _same_conditions(place: Path, world: str) -> bool:
    own, main = Run(place / world).conditions, Run(place / MAIN).conditions
    return own.exists() and own.read_bytes() == main.read_bytes()


def measure_row(seed: int, name: str) -> float:
    """Tune and score one row of a seed whose outliers are painted; returns its seconds."""
    started, row = time.monotonic(), (ROWS | INGREDIENTS)[name]
    config, place = settings(seed), place_of(seed)
    chosen = {"objective": row.objective, "outliers": row.outliers} | row.training
    config = config.with_values({"training": chosen, "objectives": row.methods}, name)
    run, (data, _), training = Run(place / MAIN), _images(seed), config.training
    images, labels = mixed_id(run, data, training.id_synthetic, config.data.image_px)
    model, precision = _start_model(config, run), choose_training_precision("auto", "cpu").value
    tuned = training if row.objective != "ce" else replace(training, objective="oe")
    outliers = None if row.objective == "ce" else _outliers(row, place, config, data)
    regime, events = regime_of(tuned, config.objectives, config.data.classes), Events(plain_lines(sys.stderr))
    machine = Machine(precision=precision)
    fit(model, images, labels, outliers, regime, training, config.objectives, events, machine, name)
    _score(model, seed, place / "rows" / name)
    return time.monotonic() - started


def _start_model(config: RunConfig, run: Run) -> torch.nn.Module:
    return load_classifier(run.classifier(start_name(config.training)))[0]


def _outliers(row: Row, place: Path, config: RunConfig, data: IdData) -> Outliers:
    seen = data if row.match_codec else replace(data, codec=Lossless())
    return training_outliers(config, Run(place / row.world), seen, Events())


@cache
def _images(seed: int) -> tuple[IdData, Sets]:
    """The ID images of a seed and the sets that its rows are scored on, once a process."""
    config = settings(seed)
    data = load_id(config.data)
    return data, load_sets(config, Run(place_of(seed) / MAIN), data, {name: name for name in SETS})


def _score(model: torch.nn.Module, seed: int, folder: Path) -> None:
    """Scores of every image of every set, and what is measured on them, into ``folder``."""
    precision = choose_training_precision("auto", "cpu").value

    def look(images: torch.Tensor) -> Evidence:
        return collect_evidence(model, images, images_together(images.shape[2]), "cpu", precision)

    found, scores = measure(look, _images(seed)[1], settings(seed).detection)
    save_scores(folder, scores)
    publish(folder / "metrics.json", to_json(found | {"identity": row_identity(folder.parents[1], folder.name)}))


def _timed(place: Path, table: str, step: str, work: Callable[[], object]) -> None:
    started = time.monotonic()
    try:
        work()
    finally:
        with open(place / "seconds.jsonl", "a") as file:
            file.write(json.dumps({"table": table, "step": step, "seconds": round(time.monotonic() - started, 1)}) + "\n")


# --- all seeds --------------------------------------------------------------------------------------------------
def result() -> dict[str, Any]:
    """Both tables over the seeds in which all their rows stand; the ingredients are compared with `dog`."""
    seeds = _complete(("ce", *ROWS))
    if not seeds:
        raise DataError(f"{WORK} holds no seed in which every row stands; run the benchmark with a seed")
    found: dict[str, Any] = {"seeds": list(map(seed_of, seeds)), "minutes": _minutes(seeds, "rows")}
    found |= {"scores": list(settings(0).detection.scores), "order": ["ce", *ROWS]}
    found |= {"backend": _painted_on(seeds)}
    found["rows"] = compare(_folders(seeds, ("ce", *ROWS)), BASELINES, JUDGED, TRUE_PICTURES)
    dissected = _complete(("dog", *INGREDIENTS))
    if dissected:
        found["ingredients"] = {
            "seeds": list(map(seed_of, dissected)),
            "order": ["dog", *INGREDIENTS],
            "rows": compare(_folders(dissected, ("dog", *INGREDIENTS)), ("dog",), JUDGED),
            "same_as": _same_as(dissected),
        }
    return found


def _painted_on(seeds: list[Path]) -> str:
    """The backend that painted the outliers."""
    records = [record for seed in seeds for record in read_records(Run(seed / MAIN).outliers("dog"))]
    return ", ".join(sorted({record["backend"] for record in records}))


def _complete(names: tuple[str, ...]) -> list[Path]:
    places = sorted(place for place in WORK.glob("seed-*") if place.name.removeprefix("seed-").isdigit())
    seeds = [place for place in places if all(_stands(place, home(place, name)) for name in names)]
    for place in sorted(set(places) - set(seeds)):
        print(f"{place.name} is left out: not every row of {', '.join(names)} stands")
    return seeds


def _folders(seeds: list[Path], names: tuple[str, ...]) -> dict[str, list[Path]]:
    return {name: [seed / "rows" / home(seed, name) for seed in seeds] for name in names}


def _same_as(seeds: list[Path]) -> dict[str, str]:
    """The ingredients that are another row in every seed, and which."""
    homes = {name: {home(seed, name) for seed in seeds} for name in INGREDIENTS}
    return {name: next(iter(found)) for name, found in homes.items() if len(found) == 1 and name not in found}


def _minutes(seeds: list[Path], table: str) -> list[float]:
    """Minutes of each seed for ``table``, over all calls that worked on it."""
    lines = [list(map(json.loads, (seed / "seconds.jsonl").read_text().splitlines())) for seed in seeds]
    return [round(sum(line["seconds"] for line in of_seed if line["table"] == table) / 60, 1) for of_seed in lines]


def main(seeds: list[int], tables: tuple[str, ...]) -> None:
    events = Events(plain_lines(sys.stderr))
    for table in tables:
        for seed in seeds:
            run_seed(seed, table, events)
    facts = {
        "id_images": ID_IMAGES,
        "outliers": OUTLIERS_PER_CLASS * len(shapes.ID_WORDS),
        "training": TRAINING,
        "hardware": hardware(choose_training_precision("auto", "cpu").value),
        "versions": versions(),
    }
    publish(RESULTS / "demo-seeds.json", to_json(result() | facts))


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--ingredients", action="store_true", help="also `dog` less one thing each")
    given = parser.parse_args()
    main(given.seeds, ("rows", "ingredients") if given.ingredients else ("rows",))
