"""The fourth stage: a classifier's scores on ID and OOD test sets, and what they are worth."""

from __future__ import annotations

import shutil
import time
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, collect_evidence, images_together
from dogfast.classifiers.loading import load_classifier
from dogfast.config import RunConfig
from dogfast.data.catalogue import IdData, count_warning, load_id, named_ood
from dogfast.detection.measure import load_sets, measure
from dogfast.detection.table import ID, save_scores
from dogfast.environment import choose_device, choose_training_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, publish, to_json, versions


def evaluate(config: RunConfig, run: Run, name: str, events: Events) -> dict[str, Any]:
    """Score classifier ``name`` on the ID test images and every OOD set; writes `evaluation/<name>/`.

    Raises DataError when classifier and ID set do not fit together, or a set is missing.
    """
    started = time.monotonic()
    model, facts = load_classifier(run.classifier(name))
    data = load_id(config.data)
    _check_fit(facts, config, data, name)
    device = choose_device(config.model.device)
    precision = choose_training_precision(config.training.train_precision, device.value)
    together = images_together(config.data.image_px)
    model.to(device.value)
    sets = load_sets(config, run, data, named_ood(config.detection.ood, config.data))
    read = {ID: sets.known.facts, **sets.facts}
    for warning in filter(None, (count_warning(set_name, set_facts) for set_name, set_facts in read.items())):
        events.say(warning)
    with events.progress(f"evaluate {name}", len(sets)) as advance:

        def look(images: torch.Tensor, *magnitudes: float) -> Evidence:
            return collect_evidence(model, images, together, device.value, precision.value, advance, magnitudes)

        found, scores = measure(look, sets, config.detection, device.value)
    for score, chosen in found["hyper_parameters"].items():
        events.say(f"{name}: {chosen['name']} of {score} is {chosen['value']}: {chosen['reason']}")
    shutil.rmtree(run.evaluation(name) / "scores", ignore_errors=True)
    save_scores(run.evaluation(name), scores)
    result = {
        "run": str(run.root),
        "name": name,
        **found,
        "sets": read,
        "codec": str(data.codec),
        "precision": precision.value,
        "classifier_sha256": facts["sha256"],
        "seconds": round(time.monotonic() - started, 3),
        "versions": versions(),
    }
    publish(run.evaluation(name) / "metrics.json", to_json(result))
    return result


def _check_fit(facts: dict[str, Any], config: RunConfig, data: IdData, name: str) -> None:
    if tuple(facts["class_names"]) != tuple(data.class_names):
        raise DataError(
            f"classifier {name} knows other classes than --classes {config.data.classes}; name the run it was trained in"
        )
    if facts["image_px"] != config.data.image_px:
        raise DataError(f"classifier {name} was trained at {facts['image_px']} px, not --image-px {config.data.image_px}")
