"""The fourth stage: a classifier's scores on ID and OOD test sets, and what they are worth."""

from __future__ import annotations

import shutil
import time
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, collect_evidence, images_together
from dogfast.classifiers.loading import load_classifier
from dogfast.config import RunConfig
from dogfast.config.detection import OPENOOD
from dogfast.config.training import START
from dogfast.data.catalogue import IdData, count_warning, load_id, named_ood
from dogfast.detection.features import Shelf, Subject
from dogfast.detection.measure import load_sets, measure
from dogfast.detection.openood import save_tables
from dogfast.detection.table import ID, save_scores
from dogfast.detection.verdicts import judge
from dogfast.environment import choose_device, choose_training_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, publish, to_json, versions


def evaluate(config: RunConfig, run: Run, name: str, events: Events, baseline: str = START) -> dict[str, Any]:
    """Score classifier ``name`` on the ID test images and every OOD set; writes `evaluation/<name>/`.

    It is judged against ``baseline``, a classifier of the same run, as far as that was evaluated on the same images.
    Raises DataError when classifier and ID set do not fit together, or a set is missing.
    """
    started = time.monotonic()
    model, facts = load_classifier(run.classifier(name))
    data = load_id(config.data)
    check_fit(facts, config, data, name)
    device = choose_device(config.model.device)
    precision = choose_training_precision(config.training.train_precision, device.value)
    together = images_together(config.data.image_px)
    model.to(device.value)
    sets = load_sets(config, run, data, named_ood(config.detection.ood, config.data))
    read = {ID: sets.known.facts, **sets.facts}
    for warning in filter(None, map(count_warning, read.values())):
        events.say(warning)
    subjects = [Subject(set_name, *of_set) for set_name, of_set in sets.named().items()]
    digests = {subject.name: subject.sha256 for subject in subjects if subject.name in read}
    shelf = Shelf(run.evaluation(name) / "features", config.detection.keep_features, facts["sha256"], precision.value)
    with events.progress(f"evaluate {name}", len(sets)) as advance:

        def look(images: torch.Tensor, *magnitudes: float) -> Evidence:
            return collect_evidence(model, images, together, device.value, precision.value, advance, magnitudes)

        found, scores = measure(shelf.lend(look, subjects, advance), sets, config.detection, device.value)
    _tell(shelf, events)
    for score, chosen in found["hyper_parameters"].items():
        events.say(f"{name}: {chosen['name']} of {score} is {chosen['value']}: {chosen['reason']}")
    if name != baseline:
        found["verdicts"] = judge(scores, digests, baseline, run)
    metrics = run.metrics(name)
    metrics.unlink(missing_ok=True)  # it vouches for the scores beside it
    shutil.rmtree(run.evaluation(name) / "scores", ignore_errors=True)
    save_scores(run.evaluation(name), scores)
    shutil.rmtree(run.evaluation(name) / OPENOOD, ignore_errors=True)
    if config.detection.protocol == OPENOOD:
        save_tables(run.evaluation(name), found["rows"], found["id_accuracy"])
    result = {
        "run": str(run.root),
        "name": name,
        **found,
        "sets": {set_name: set_facts | {"sha256": digests[set_name]} for set_name, set_facts in read.items()},
        "id_training": data.train.facts,
        "features": {"kept": shelf.kind, "taken": shelf.taken},
        "codec": str(data.codec),
        "precision": precision.value,
        "classifier_sha256": facts["sha256"],
        "seconds": round(time.monotonic() - started, 3),
        "versions": versions(),
    }
    publish(metrics, to_json(result))
    return result


def _tell(shelf: Shelf, events: Events) -> None:
    """Which features of an earlier evaluation were taken, and which were not."""
    if shelf.taken:
        events.say(f"features of an earlier evaluation taken as they are: {', '.join(shelf.taken)}")
    if shelf.unfit:
        listed = ", ".join(f"{name} ({reason})" for name, reason in shelf.unfit.items())
        events.say(f"features of an earlier evaluation do not fit, so the images were looked at again: {listed}")


def check_fit(facts: dict[str, Any], config: RunConfig, data: IdData, name: str) -> None:
    """Raise :class:`DataError` where the classifier ``name`` of these ``facts`` was trained on other classes or another size."""
    if tuple(facts["class_names"]) != tuple(data.class_names):
        raise DataError(
            f"classifier {name} knows other classes than --classes {config.data.classes}; name the run it was trained in"
        )
    if facts["image_px"] != config.data.image_px:
        raise DataError(f"classifier {name} was trained at {facts['image_px']} px, not --image-px {config.data.image_px}")
