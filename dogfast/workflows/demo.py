"""The whole job on the embedded world, as an ordinary run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dogfast.concepts.stage import find_anchors
from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.detection.summary import format_evaluations
from dogfast.events import Events
from dogfast.run import Run
from dogfast.shards.reader import count_samples, has_shards
from dogfast.training.sources import painted_source
from dogfast.workflows.chain import run_evaluate, run_generate, run_id_control, run_report, run_train
from dogfast.workflows.refine import of_round, refine
from dogfast.workflows.refinement.request import Refinement

SETTINGS: dict[str, dict[str, Any]] = {
    "concepts": {"inversion_steps": 60},
    "synthesis": {"m": 168},
    "training": {"pretrain_epochs": 24, "epochs": 5},
    "detection": {"ood": ("held-out-shapes", "glyphs", "stripes", "noise"), "corrupted_images": 100},
}
"""For five minutes: names that are right leave little to learn, as many outliers as training images (1,344 and 1,337), fewer
epochs, and few corrupted images. All else is the preset of `shapes`."""

ROWS = (("ce", "dog"), ("oe", "noise"), ("oe", "dog"), ("dog", "dog"))
"""(objective, source) of every classifier of the table."""


REFINED_ROUNDS = 2
"""With ``--refine``: as many outliers in all, in two rounds."""
EVERY_ROUND = Refinement(rounds=REFINED_ROUNDS, patience=REFINED_ROUNDS)


def demo_config(seed: int, refined: bool = False) -> RunConfig:
    """What `demo` is to do; where it is to be ``refined``, a round's share of the outliers."""
    seeded = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed}, "training": {"train_seed": seed}}
    config = preset("shapes").with_values(SETTINGS, "demo").with_values(seeded, "demo")
    return config.with_values({"synthesis": {"m": config.synthesis.m // REFINED_ROUNDS}}, "--refine") if refined else config


def demo(config: RunConfig, run: Run, events: Events, refined: bool = False) -> dict[str, Any]:
    """Anchors, outliers, four classifiers, their table and the report; returns it all with the seconds of each stage.

    ``refined``: a further round of outliers and of `dog` as well; the others learn from the first round.
    """
    seconds: dict[str, float] = {}
    source = painted_source(config.training)
    run.claim("demo", {"refine": refined}, has_results=has_shards(run.outliers(source)))
    timed = _timer(seconds, events)
    timed("anchors", lambda: find_anchors(config, run, events))
    timed("generate", lambda: run_generate(config, run, events))
    if config.training.id_synthetic:
        timed("generate id-control", lambda: run_id_control(config, run, events))
    rounds = timed("refine", lambda: refine(config, run, events, EVERY_ROUND))["rounds"] if refined else []
    evaluations = {}
    for objective, source in ROWS:
        chosen = _with_row(config, objective, source, refined)
        trained = timed(f"train {objective}+{source}", lambda chosen=chosen: run_train(chosen, run, events))
        evaluations[trained["name"]] = timed(
            f"evaluate {trained['name']}", lambda chosen=chosen: run_evaluate(chosen, run, events)
        )
    for row in rounds[1:]:
        evaluations[row["classifier"]] = timed(
            f"evaluate {row['classifier']}", lambda row=row: run_evaluate(of_round(config, row["round"]), run, events)
        )
    report = timed("report", lambda: run_report(config, run, events))
    return {
        "run": str(run.root),
        "outliers": count_samples(run.outliers(source)),
        "evaluations": evaluations,
        "report": report["report"],
        "seconds": seconds,
        "total_s": round(sum(seconds.values()), 1),
    }


def demo_table(result: dict[str, Any]) -> str:
    """The table and the seconds of each stage, for people."""
    times = "\n".join(f"{stage:<24}{seconds:7.1f} s" for stage, seconds in result["seconds"].items())
    total = f"{'total':<24}{result['total_s']:7.1f} s"
    return "\n\n".join([format_evaluations(result["evaluations"]), f"{times}\n{total}", f"report: {result['report']}"])


def _with_row(config: RunConfig, objective: str, source: str, refined: bool) -> RunConfig:
    chosen = config.with_values({"training": {"objective": objective, "outliers": source}}, "demo")
    return of_round(chosen, 1) if refined and painted_source(chosen.training) else chosen


def _timer(seconds: dict[str, float], events: Events) -> Callable[[str, Callable[[], Any]], Any]:
    def timed(stage: str, work: Callable[[], Any]) -> Any:
        started = time.monotonic()
        result = work()
        seconds[stage] = round(time.monotonic() - started, 1)
        events("stage_finished", stage=stage, seconds=seconds[stage])
        return result

    return timed
