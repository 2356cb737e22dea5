"""What each command would do: everything is checked and counted, nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dogfast.classifiers.loading import is_trained
from dogfast.concepts.edited import read_edited
from dogfast.config import RunConfig
from dogfast.config.synthesis import LATENT_SUFFIX, STRATEGIES, fields_of
from dogfast.config.training import START
from dogfast.data.catalogue import load_id, named_ood, parse_ood
from dogfast.data.corruptions import SEVERITIES
from dogfast.data.vocabulary import choose_vocabulary, load_vocabulary
from dogfast.diffusion.load import Pipeline, choose_model
from dogfast.engines.opening import choose_platform
from dogfast.environment import choose_device, choose_training_precision
from dogfast.events import Events
from dogfast.rounds import plan_file, read_outcome
from dogfast.run import Run
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import has_shards, read_records
from dogfast.synthesis.plan import read_segments
from dogfast.synthesis.recipes import resolve_recipe
from dogfast.synthesis.space import bytes_of_one
from dogfast.synthesis.stage import store_for
from dogfast.training.names import classifier_name, start_name
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.regimes import regime_of
from dogfast.training.sources import PROCEDURAL, images_at, painted_source, shards_of, source_of
from dogfast.workflows.chain import check_generate, check_train
from dogfast.workflows.demo import REFINED_ROUNDS
from dogfast.workflows.refine import check_refine
from dogfast.workflows.refinement.request import Refinement

UNKNOWN_TIME = "not measured yet on this run"


def plan_anchors(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    data = load_id(config.data)
    model = choose_model(config.model.model, config.data.classes)
    pipeline = Pipeline(config.model, model.value)
    platform = choose_platform(config.model, events)
    return {
        "classes": len(data.class_names),
        "id_images": len(data.train),
        "model": f"{model.value} ({model.reason}), revision {pipeline.revision}",
        "backend": platform.backend,
        "device": platform.device,
        "precision": platform.precision,
        **_words_from(config, data.class_names),
        "inversion_rows": config.concepts.inversion_steps * config.concepts.inversion_batch,
        "anchors_found": run.conditions.exists(),
    }


def plan_generate(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    """Images left to paint, with bytes and seconds by what this run's shards took so far."""
    stage = _recipe(config, run, events)
    return stage | _painting(config, run, config.synthesis.m * stage["classes"])


def _recipe(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    """What is painted from, and how."""
    check_generate(config, run)
    recipe = resolve_recipe(config.synthesis)
    cached = f", DeepCache {recipe.deepcache}" if recipe.deepcache > 1 else ""
    stage = plan_anchors(config, run, events)
    budget = config.synthesis.budget
    return stage | {
        "budget": f"{budget}: recipe and m below are the most it takes" if budget else "none",
        "recipe": f"{recipe.name}: {recipe.steps} steps of {recipe.solver}, guidance {recipe.guidance.scale:g}{cached}",
    }


def _painting(config: RunConfig, run: Run, images: int) -> dict[str, Any]:
    """What is left of ``images`` of a source, with bytes and seconds by what its shards took so far."""
    records = read_records(store_for(run, config.synthesis.store) / config.synthesis.source)
    done = sum(record["samples"] for record in records)
    left = max(0, images - done)
    pipeline = Pipeline(config.model, choose_model(config.model.model, config.data.classes).value)
    seconds = round(left * sum(r.get("seconds", 0) for r in records) / done, 1) if done else UNKNOWN_TIME
    return {
        "images": images,
        "images_left": left,
        "shards": -(-images // config.synthesis.samples_per_shard),
        "bytes": int(left * bytes_of_one(config, pipeline, records)),
        "seconds": seconds,
    }


def plan_train(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    settings = config.training
    check_train(config, run)
    data, regime = load_id(config.data), regime_of(settings, config.objectives, config.data.classes)
    learns, brings = settings.objective != START, OBJECTIVES[settings.objective].brings
    id_images = round(len(data.train) / (1 - (settings.id_synthetic if learns else 0.0)))
    steps = regime.epochs * max(1, id_images // regime.batch)
    device = choose_device(config.model.device)
    return {
        "name": classifier_name(settings),
        "trained": is_trained(run.classifier(classifier_name(settings))),
        "start_trained": is_trained(run.classifier(start_name(settings))),
        "outliers": source_of(settings) if brings else "unused",
        "outliers_painted": not brings or _are_painted(config, run),
        "id_images": id_images,
        "id_control_painted": has_shards(run.outliers(ID_CONTROL)),
        "from": regime.start,
        "epochs": regime.epochs,
        "lr": regime.lr,
        "steps": steps,
        "images": steps * (regime.batch + regime.ood_batch),
        "device": device.value,
        "precision": choose_training_precision(settings.train_precision, device.value).value,
        "bytes": "one classifier",
        "seconds": UNKNOWN_TIME,
    }


def plan_evaluate(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    data = load_id(config.data)
    entries = named_ood(config.detection.ood, config.data)
    sets = {name: str(parse_ood(entry, config.data)[1] or "painted") for name, entry in entries.items()}
    name = classifier_name(config.training)
    return {
        "name": name,
        "trained": is_trained(run.classifier(name)),
        "scores": list(config.detection.scores),
        "ood": sets,
        "images": f"{len(data.test)} ID and at most {config.detection.ood_images or 'all'} of each OOD set",
        "corrupted": f"{min(config.detection.corrupted_images, len(data.test))} ID images, each {len(SEVERITIES)} times",
        "protocol": config.detection.protocol,
        "bytes": f"scores and metrics; features of every set: {config.detection.keep_features}",
        "seconds": UNKNOWN_TIME,
    }


def plan_report(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    evaluated = sorted(path.parent.name for path in run.root.glob("evaluation/*/metrics.json"))
    return {"evaluated": evaluated, "report": str(run.report), "images": 0, "bytes": "a few MB", "seconds": "seconds"}


def plan_demo(config: RunConfig, run: Run, events: Events, refined: bool = False) -> dict[str, Any]:
    further = [f"dog~{number}" for number in range(2, REFINED_ROUNDS + 1)] if refined else []
    stage = _recipe(config, run, events)
    painting = _painting(config, run, (1 + len(further)) * config.synthesis.m * stage["classes"])
    return stage | painting | {"classifiers": ["ce", "oe+noise", "oe", "dog", *further]}


def plan_refine(config: RunConfig, run: Run, events: Events, request: Refinement) -> dict[str, Any]:
    """The most that ``request`` can come to, in images, and the rounds that stand."""
    check_refine(config, run)
    source, numbers = painted_source(config.training), range(1, request.rounds + 1)
    config = config.with_values({"synthesis": fields_of(source)}, "--outliers")
    stage = _recipe(config, run, events)
    over = [number for number in numbers if read_outcome(run, source, number)]
    further = sum(not plan_file(run, source, number).exists() for number in numbers[1:])
    planned = sum(segment.images for segment in read_segments(run.plan(source)))
    of_round = config.synthesis.m * stage["classes"]
    images = max(of_round, planned) + further * of_round
    return stage | _painting(config, run, images) | {"rounds": request.rounds, "rounds_done": over}


def _words_from(config: RunConfig, class_names: tuple[str, ...]) -> dict[str, str]:
    edited = config.concepts.anchors
    if edited:
        return {"anchors": f"{len(read_edited(Path(edited), class_names))} of {edited}"}
    vocabulary = choose_vocabulary(config.concepts.vocabulary, config.data.classes)
    words = load_vocabulary(vocabulary.value, class_names, config).words
    return {"vocabulary": f"{vocabulary.value}, {len(words)} words"}


def _are_painted(config: RunConfig, run: Run) -> bool:
    source = source_of(config.training)
    own = run.outliers(source) if source.removesuffix(LATENT_SUFFIX) in STRATEGIES else None
    return source in PROCEDURAL or images_at(run, source) is not None or has_shards(own or shards_of(run, source))
