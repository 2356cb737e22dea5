"""A stage whose input is missing runs the stage before it, and says so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dogfast.classifiers.loading import is_trained
from dogfast.concepts.stage import find_anchors
from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.config.synthesis import fields_of
from dogfast.config.training import START
from dogfast.data.catalogue import load_id, named_ood
from dogfast.data.splits import PAINTING_WORDS, TEST_SHARE
from dogfast.detection.stage import evaluate
from dogfast.engines.opening import choose_platform
from dogfast.environment import choose_device, choose_training_precision
from dogfast.events import Events
from dogfast.reporting.page import write_report
from dogfast.run import TRAINING, Run, exclusive
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import record_paths
from dogfast.synthesis.budget import within_budget
from dogfast.synthesis.cluster import paint_on_cluster
from dogfast.synthesis.job import require_pictures
from dogfast.synthesis.plan import read_segments
from dogfast.synthesis.recipes import resolve_recipe
from dogfast.synthesis.stage import generate, store_for
from dogfast.synthesis.worker import PaintAll, paint_alone
from dogfast.training.names import baseline_name, classifier_name, start_name
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.ranks import ALONE, Ranks
from dogfast.training.regimes import regime_of
from dogfast.training.sources import PROCEDURAL, RENDERS, check_source, images_at, learnable, painted_source, source_of
from dogfast.training.stage import train
from dogfast.training.start import check_start
from dogfast.workflows.tune import candidates, tune

ID_TWINS = 6


def check_generate(config: RunConfig, run: Run) -> None:
    """Refuse what `generate` would only notice after the anchors were found."""
    resolve_recipe(config.synthesis)
    require_pictures(config)
    choose_platform(config.model, Events())
    store_for(run, config.synthesis.store)


def check_train(config: RunConfig, run: Run) -> None:
    """Refuse what `train` would only notice after outliers or a starting classifier were made."""
    settings, brings = config.training, OBJECTIVES[config.training.objective].brings
    check_start(config)
    candidates(config)
    choose_training_precision(settings.train_precision, choose_device(config.model.device).value)
    if settings.outliers == RENDERS:
        require(config.data.classes == "shapes", "--outliers renders: only --classes shapes has true renders")
    if settings.follow and brings:
        shards = brings == "images" and settings.outliers not in PROCEDURAL and images_at(run, settings.outliers) is None
        require(shards, "--follow takes in shards of images as they are painted; name such a source with --outliers")
        require(
            not settings.tune, "--follow: candidates of --tune would not learn from the same shards; tune once all are painted"
        )
    if settings.round:
        check_rounds(config)
        before = start_name(settings)
        stands = settings.round == 1 or is_trained(run.classifier(before))
        require(stands, f"--round {settings.round} starts from {before}, which is not trained yet")
        learnable(settings, run)
    if brings:
        check_source(settings, run)


def check_rounds(config: RunConfig) -> None:
    """Refuse a training that no round of `refine` can go on with."""
    settings = config.training
    tuned = regime_of(settings, config.objectives, config.data.classes).start == START != settings.objective
    require(tuned, f"--objective {settings.objective}: rounds go on from a classifier, and this one is not tuned from any")
    require(
        source_of(settings) in PAINTING_WORDS and OBJECTIVES[settings.objective].brings == "images",
        f"--objective {settings.objective} --outliers {settings.outliers}: rounds need images that were painted from words "
        f"({', '.join(PAINTING_WORDS)}), and an objective that learns from them",
    )
    require(not (settings.tune or settings.follow), "rounds give every training the same; leave out --tune and --follow")


def check_evaluate(config: RunConfig) -> None:
    """Refuse what `evaluate` would only notice after a classifier was trained."""
    require(not config.training.follow, "--follow is for `dogfast train`, which works beside the painting process")
    named_ood(config.detection.ood, config.data)


def run_generate(
    config: RunConfig, run: Run, events: Events, paint_all: PaintAll = paint_alone, painters: int = 1
) -> dict[str, Any]:
    """`generate`, with the anchors it needs found first; where the configuration names a Ray cluster, on that.

    ``painters``: the processes that ``paint_all`` paints with, which a --budget counts on.
    """
    check_generate(config, run)
    if not run.conditions.exists():
        events.say("no anchors yet: finding them first")
    find_anchors(config, run, events)
    settings = config.synthesis
    if settings.budget:
        config = within_budget(config, run, events, settings.workers or painters)
        run.remembers = config.to_toml()
    return generate(config, run, events, paint_on_cluster(settings.ray, settings.workers) if settings.ray else paint_all)


def run_train(config: RunConfig, run: Run, events: Events, ranks: Ranks = ALONE) -> dict[str, Any]:
    """`train`, with the outliers and the starting classifier it needs made first; what it follows, another process paints."""
    prepare_training(config, run, events)
    with exclusive(run.root, TRAINING):
        return train_prepared(config, run, events, ranks)


def prepare_training(config: RunConfig, run: Run, events: Events) -> None:
    """Refuse what cannot be trained, and paint what the training is to learn from."""
    check_train(config, run)
    settings = config.training
    source = painted_source(settings)
    if source and not settings.follow and not _is_painted(run, source, events):
        run_generate(config.with_values({"synthesis": fields_of(source)}, "--outliers"), run, events)
    if settings.id_synthetic and settings.objective != START and not _is_painted(run, ID_CONTROL, events):
        require(
            not settings.follow,
            "--follow paints nothing, and id-control is not painted: `dogfast generate --strategy id-control` first, or give --id-synthetic 0",
        )
        run_id_control(config, run, events)


def train_prepared(config: RunConfig, run: Run, events: Events, ranks: Ranks = ALONE) -> dict[str, Any]:
    """Train, the starting classifier first where there is none, for who holds the run's training."""
    settings = config.training
    needs_start = regime_of(settings, config.objectives, config.data.classes).start == START
    if needs_start and not is_trained(run.classifier(start_name(settings))):
        events.say(f"no starting classifier yet: training {start_name(settings)} first")
        train(config.with_values({"training": {"objective": START}}, "the starting classifier"), run, events, ranks)
    return tune(config, run, events, ranks) if settings.tune else train(config, run, events, ranks)


def run_id_control(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    """`generate` of ID-class images, so many that ``--id-synthetic`` repeats none of those that may train."""
    return run_generate(id_control_config(config), run, events)


def id_control_config(config: RunConfig) -> RunConfig:
    """What `run_id_control` paints."""
    share, data = config.training.id_synthetic, load_id(config.data)
    per_class = len(data.train) / len(data.class_names)
    m = math.ceil(per_class * share / (1 - share) / (1 - TEST_SHARE))
    fields = fields_of(ID_CONTROL) | {"m": m, "budget": "", "reject_id": False, "templates": ()}
    return config.with_values({"synthesis": fields}, "--id-synthetic")


def _is_painted(run: Run, source: str, events: Events) -> bool:
    """Whether ``source`` is painted as planned; says what is missing."""
    planned = sum(segment.shards for segment in read_segments(run.plan(source)))
    done = len(record_paths(run.outliers(source)))
    if not done:
        events.say(f"no outliers of {source!r} yet: painting them first")
    elif done < planned:
        events.say(f"{done} of {planned} shards of {source!r} are painted: painting the others first")
    return done > 0 and done >= planned


def run_evaluate(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    """`evaluate`, with the classifier trained first."""
    name = _trained(config, run, events)
    return evaluate(config, run, name, events, baseline_name(config.training))


def run_evaluate_with_baseline(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    """`run_evaluate`, and before it the baseline's where it stands and was never evaluated: the classifier is compared with it."""
    name, baseline = _trained(config, run, events), baseline_name(config.training)
    evaluated = run.metrics(baseline).exists()
    if name != baseline and is_trained(run.classifier(baseline)) and not evaluated:
        events.say(f"{baseline} first, which {name} is compared with")
        evaluate(config, run, baseline, events, baseline)
    return evaluate(config, run, name, events, baseline)


def _trained(config: RunConfig, run: Run, events: Events) -> str:
    """The name of the classifier that ``config`` means, which stands then."""
    check_evaluate(config)
    name = classifier_name(config.training)
    if not is_trained(run.classifier(name)):
        events.say(f"no classifier {name!r} yet: training it first")
        run_train(config, run, events)
    return name


def run_report(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    """`report`, with an evaluation first where there is none at all."""
    if not any(run.root.glob("evaluation/*/metrics.json")):
        events.say("nothing is evaluated yet: evaluating first")
        run_evaluate_with_baseline(config, run, events)
    return write_report(run, id_examples(config), events)


def id_examples(config: RunConfig) -> dict[str, np.ndarray]:
    """A few ID training images a class, uint8 (k, H, W, 3), to stand beside the outliers."""
    images = load_id(config.data).train
    return {name: images.of_class(y)[:ID_TWINS].permute(0, 2, 3, 1).numpy() for y, name in enumerate(images.class_names)}
