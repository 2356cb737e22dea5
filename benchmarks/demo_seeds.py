"""Does DOG work in the embedded world? `python benchmarks/demo_seeds.py [SEED …]` (default 0 1 2).

Every seed is a run under build/demo-seeds: 5,000 ID images, 5,000 outliers, one starting classifier, and the rows of
`ROWS` tuned from it. Then every seed found there is compared: means, spreads, a paired bootstrap against the better of
the two `ce` rows, and verdicts, into benchmarks/results/demo-seeds.json. What stands is not done again.

Nothing is chosen here. What was chosen (the preset of `shapes`) was chosen on validation words.
"""

import json
import os
import sys
import time
from argparse import ArgumentParser
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, collect_evidence
from dogfast.classifiers.loading import load_classifier
from dogfast.concepts.stage import find_anchors
from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.config.synthesis import STRATEGIES
from dogfast.data.catalogue import IdData, load_id
from dogfast.data.codec import Lossless
from dogfast.detection.measure import load_sets, measure
from dogfast.detection.stage import BATCH
from dogfast.detection.table import load_scores, save_scores
from dogfast.environment import choose_training_precision, hardware, processor_count
from dogfast.errors import DataError
from dogfast.events import Events, plain_lines
from dogfast.numerics.bootstrap import Difference, paired_difference
from dogfast.run import Run, digest, launch, publish, read_json, to_json, versions
from dogfast.shards.format import ID_CONTROL
from dogfast.synthesis.stage import generate
from dogfast.training.id_synthetic import mixed_id
from dogfast.training.loop import fit
from dogfast.training.names import start_name
from dogfast.training.sources import source_digest, training_outliers
from dogfast.training.stage import train
from dogfast.workflows.chain import run_id_control

RESULTS = Path(__file__).parent / "results"
WORK = Path("build/demo-seeds")
ID_IMAGES, OUTLIERS_PER_CLASS, OOD_IMAGES = 5000, 625, 2000
SETS = ("held-out-shapes", "glyphs", "stripes", "checkers", "noise")
JUDGED = ("held-out-shapes", "glyphs")
"""The sets whose mean FPR95 decides."""
BASELINES = ("ce", "ce+steps")
CEILING = "dog+renders"
MAIN = "main"


@dataclass(frozen=True)
class Row:
    """One classifier: what it is tuned with, and the world (`WORLDS`) whose outliers it sees."""

    objective: str
    outliers: str = "dog"
    world: str = MAIN
    training: dict[str, Any] = field(default_factory=dict)
    match_codec: bool = True


WORLDS: dict[str, dict[str, dict[str, Any]]] = {
    MAIN: {},
    "class-name": {"concepts": {"inversion_steps": 0}},
    "all-candidates": {"concepts": {"anchor_quantile": 1.0, "margin": -1.0}},
    "few-names": {"concepts": {"top_k": 8}},
}
"""How the concepts were found: as the preset says; without textual inversion; without the filter of Eq. 6; and with a K
that is a small part of the 36 words, for where K is all that chooses."""

ROWS: dict[str, Row] = {
    "ce+steps": Row("ce"),
    "oe+noise": Row("oe", "noise"),
    "oe": Row("oe"),
    "dog": Row("dog"),
    "dog descend": Row("dog", training={"wor_sign": "descend"}),
    "dog alternate": Row("dog", training={"wor_step": "alternate"}),
    "dog alternate descend": Row("dog", training={"wor_step": "alternate", "wor_sign": "descend"}),
    CEILING: Row("dog", "renders"),
    "dog+textual-near-ood": Row("dog", "textual-near-ood", "few-names"),
}
INGREDIENTS: dict[str, Row] = {
    "without textual inversion": Row("dog", world="class-name"),
    "without Eq. 6": Row("dog", world="all-candidates"),
    "without perturbation": Row("oe", training={"oe_weight": 1.0}),
    "without codec matching": Row("dog", match_codec=False),
    "without ID-class samples": Row("dog", training={"id_synthetic": 0.0}),
}
"""`dog` less one thing each; without the perturbation that is outlier exposure at `dog`'s weight."""


# --- one seed ---------------------------------------------------------------------------------------------------
def run_seed(seed: int, rows: dict[str, Row], events: Events) -> None:
    """Paint and train the start, then tune and score every row that does not stand yet, one thread and process a row."""
    config, place = settings(seed), WORK / f"seed-{seed}"
    with launch(place / MAIN, config.to_toml()) as run:
        _timed(place, "start", lambda: _start(config, run, place, events))
        for world, strategy in dict.fromkeys((row.world, row.outliers) for row in rows.values() if row.outliers in STRATEGIES):
            _timed(place, f"paint {world} {strategy}", lambda w=world, s=strategy: _paint(config, place, w, s, events))
        _timed(place, "rows", lambda: _measure_all(seed, [name for name in rows if not _stands(place, name)]))


def _measure_all(seed: int, names: list[str]) -> None:
    with ProcessPoolExecutor(processor_count(), get_context("spawn"), _begin_worker) as pool:
        for name, seconds in zip(names, pool.map(measure_row, [seed] * len(names), names)):
            print(f"seed {seed}: {name} in {seconds:.0f} s", flush=True)


def _begin_worker() -> None:
    """One thread for torch; and no worker outlives its parent, however that ends."""
    torch.set_num_threads(1)
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


def _stands(place: Path, name: str) -> bool:
    """Whether a row is measured, with the settings and code data of today."""
    path = place / "rows" / name / "measured.json"
    return path.exists() and read_json(path)["identity"] == row_identity(place, name)


def row_identity(place: Path, name: str) -> str:
    """What a row's figures depend on: its settings, the start it was tuned from, and the images it and its control saw."""
    row = (ROWS | INGREDIENTS).get(name, Row("ce"))
    main, config = Run(place / MAIN), settings(int(place.name.removeprefix("seed-")))
    start = read_json(main.classifier(start_name(config.training)) / "train.json")["sha256"]
    outliers = "" if row.objective == "ce" else source_digest(Run(place / row.world), row.outliers)
    return digest(name, asdict(row), config.to_toml(), start, outliers, source_digest(main, ID_CONTROL))


def settings(seed: int) -> RunConfig:
    values = {"data": {"id_images": ID_IMAGES}, "synthesis": {"m": OUTLIERS_PER_CLASS, "seed": seed}}
    values |= {"detection": {"ood_images": OOD_IMAGES}, "concepts": {"concepts_seed": seed}, "training": {"train_seed": seed}}
    return preset("shapes").with_values(values, "benchmark")


def _start(config: RunConfig, run: Run, place: Path, events: Events) -> None:
    """Anchors, ID-class images, and the classifier that every row starts from, scored as the row `ce`."""
    train(config.with_values({"training": {"objective": "ce"}}, "benchmark"), run, events)
    run_id_control(config, run, events)
    if not _stands(place, "ce"):
        _score(_start_model(config, run), config, run, load_id(config.data), place / "rows" / "ce")


def _paint(config: RunConfig, place: Path, world: str, strategy: str, events: Events) -> None:
    chosen = config.with_values(WORLDS[world] | {"synthesis": {"strategy": strategy}}, world)
    if world == MAIN:
        generate(chosen, Run(place / MAIN), events)
        return
    with launch(place / world, chosen.to_toml()) as run:
        find_anchors(chosen, run, events)
        generate(chosen, run, events)


def measure_row(seed: int, name: str) -> float:
    """Tune and score one row of a seed whose outliers are painted; returns its seconds."""
    started, row = time.monotonic(), (ROWS | INGREDIENTS)[name]
    config, place = settings(seed), WORK / f"seed-{seed}"
    config = config.with_values({"training": {"objective": row.objective, "outliers": row.outliers} | row.training}, name)
    run, data, training = Run(place / MAIN), load_id(config.data), config.training
    images, labels = mixed_id(run, data, training.id_synthetic, config.data.image_px)
    model, precision = _start_model(config, run), choose_training_precision("auto", "cpu").value
    outliers = None if row.objective == "ce" else _outliers(row, place, data, config.data.image_px)
    epochs, lr, events = training.epochs, training.lr, Events(plain_lines(sys.stderr))
    fit(model, images, labels, outliers, training, row.objective, epochs, lr, "cpu", precision, events, name)
    _score(model, config, run, data, place / "rows" / name)
    return time.monotonic() - started


def _start_model(config: RunConfig, run: Run) -> torch.nn.Module:
    return load_classifier(run.classifier(start_name(config.training)))[0]


def _outliers(row: Row, place: Path, data: IdData, image_px: int) -> torch.Tensor:
    seen = data if row.match_codec else replace(data, codec=Lossless())
    return training_outliers(Run(place / row.world), row.outliers, seen, image_px)


def _score(model: torch.nn.Module, config: RunConfig, run: Run, data: IdData, folder: Path) -> None:
    """Scores of every image of every set, and what is measured on them, into ``folder``."""
    precision = choose_training_precision("auto", "cpu").value

    def look(images: torch.Tensor) -> Evidence:
        return collect_evidence(model, images, BATCH, "cpu", precision)

    found, scores = measure(look, load_sets(config, run, data, {name: name for name in SETS}), config.detection)
    save_scores(folder, scores)
    publish(folder / "measured.json", to_json(found | {"identity": row_identity(folder.parents[1], folder.name)}))


def _timed(place: Path, name: str, work) -> None:
    started = time.monotonic()
    try:
        work()
    finally:
        with open(place / "seconds.jsonl", "a") as file:
            file.write(json.dumps({"step": name, "seconds": round(time.monotonic() - started, 1)}) + "\n")


# --- all seeds --------------------------------------------------------------------------------------------------
def compare(rows: dict[str, Row]) -> dict[str, Any]:
    """Every row over the seeds in which all rows stand; says which seeds are left out."""
    places = sorted(WORK.glob("seed-*"))
    seeds = [place for place in places if all(_stands(place, name) for name in ("ce", *rows))]
    for place in set(places) - set(seeds):
        print(f"{place.name} is left out: not every row stands")
    if not seeds:
        raise DataError(f"{WORK} holds no seed in which every row stands; run the benchmark with a seed")
    names = ["ce", *rows]
    measured = {name: [read_json(s / "rows" / name / "measured.json") for s in seeds] for name in names}
    scores = {name: [_scores_of(s / "rows" / name) for s in seeds] for name in names}
    found = {name: _row_result(measured[name]) for name in names}
    for score in found["ce"]["judged"]:
        base = min(BASELINES, key=lambda name: found[name]["judged"][score]["mean"])
        for name in names:
            found[name]["judged"][score] |= _against(base, name, score, scores, found)
    return {"seeds": [s.name.removeprefix("seed-") for s in seeds], "rows": found, "seconds": _seconds(seeds)}


def _scores_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.stem: load_scores(path) for path in sorted((folder / "scores").glob("*.safetensors"))}


def _row_result(measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, in percent: ID accuracy, FPR95 and AUROC of every set and score, artefact control."""
    keys = [(row["score"], row["dataset"]) for row in measured[0]["rows"]]
    mean = lambda values: 100 * sum(values) / len(values)  # noqa: E731
    cell = {
        key: {
            measure: mean([next(r for r in m["rows"] if (r["score"], r["dataset"]) == key)[measure] for m in measured])
            for measure in ("fpr95", "auroc")
        }
        for key in keys
    }
    judged = {}
    for score in dict.fromkeys(score for score, _ in keys):
        by_seed = [
            100 * sum(r["fpr95"] for r in m["rows"] if r["score"] == score and r["dataset"] in JUDGED) / len(JUDGED)
            for m in measured
        ]
        judged[score] = {"by_seed": by_seed, "mean": sum(by_seed) / len(by_seed)}
    controls = [{row["score"]: row["called_ood"] for row in m["artefact_control"]} for m in measured]
    return {
        "id_accuracy": mean([m["id_accuracy"] for m in measured]),
        "sets": {score: {d: cell[s, d] for s, d in keys if s == score} for score in judged},
        "judged": judged,
        "artefact_control": {score: mean([c[score] for c in controls]) for score in judged},
    }


def _against(base: str, name: str, score: str, scores: dict, rows: dict[str, Any]) -> dict[str, Any]:
    """``name`` against the better `ce` row on the judged sets: change, interval, verdict, share of the ceiling's gain.

    The interval is over test images; the verdict also asks that all seeds went the same way.
    """
    difference = _difference(scores[base], scores[name], score, JUDGED)
    by_set = {d: _difference(scores[base], scores[name], score, (d,)).verdict for d in SETS}
    start, mean = rows[base]["judged"][score]["mean"], rows[name]["judged"][score]["mean"]
    by_seed = [b - a for a, b in zip(rows[base]["judged"][score]["by_seed"], rows[name]["judged"][score]["by_seed"])]
    agree = all(change < 0 for change in by_seed) or all(change > 0 for change in by_seed)
    gap = start - rows[CEILING]["judged"][score]["mean"] if CEILING in rows else 0.0
    return {
        "baseline": base,
        "change": 100 * difference.value,
        "interval": [100 * difference.low, 100 * difference.high],
        "verdict": difference.verdict if agree else "undecided",
        "verdict_by_set": by_set,
        "relative_change": (mean - start) / start if start else None,
        "share_of_ceiling": (start - mean) / gap if gap > 0 and name != base else None,
    }


def _difference(base: list, other: list, score: str, sets: tuple[str, ...]) -> Difference:
    return paired_difference(
        [(a[score]["id"], a[score][name], b[score]["id"], b[score][name]) for a, b in zip(base, other) for name in sets]
    )


def _seconds(seeds: list[Path]) -> dict[str, dict[str, float]]:
    """By seed and step, the seconds of all calls that worked on it."""
    found: dict[str, dict[str, float]] = {}
    for seed in seeds:
        steps = found.setdefault(seed.name, {})
        for line in map(json.loads, (seed / "seconds.jsonl").read_text().splitlines()):
            steps[line["step"]] = round(steps.get(line["step"], 0.0) + line["seconds"], 1)
    return found


def main(seeds: list[int], ingredients: bool) -> None:
    events = Events(plain_lines(sys.stderr))
    rows = ROWS | (INGREDIENTS if ingredients else {})
    for seed in seeds:
        run_seed(seed, rows, events)
    result = compare(rows) | {
        "id_images": ID_IMAGES,
        "outliers": OUTLIERS_PER_CLASS * 8,
        "hardware": hardware(choose_training_precision("auto", "cpu").value),
        "versions": versions(),
    }
    publish(RESULTS / "demo-seeds.json", to_json(result))


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--ingredients", action="store_true", help="also `dog` less one thing each")
    given = parser.parse_args()
    main(given.seeds, given.ingredients)
