"""The fourth stage: a classifier's scores on ID and OOD test sets, and what they are worth."""

from __future__ import annotations

import shutil
import time
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, collect_evidence, images_together
from dogfast.classifiers.loading import load_classifier
from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.data.catalogue import IdData, default_ood, load_id, parse_ood
from dogfast.detection.measure import load_sets, measure
from dogfast.detection.table import save_scores
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
    sets = load_sets(config, run, data, _named_sets(config))
    with events.progress(f"evaluate {name}", len(sets)) as advance:

        def look(images: torch.Tensor) -> Evidence:
            return collect_evidence(model, images, together, device.value, precision.value, advance)

        found, scores = measure(look, sets, config.detection)
    events.say(f"{name}: ASH removes {found['ash_percentile']} %: {found['ash_reason']}")
    shutil.rmtree(run.evaluation(name) / "scores", ignore_errors=True)
    save_scores(run.evaluation(name), scores)
    result = {
        "run": str(run.root),
        "name": name,
        **found,
        "codec": str(data.codec),
        "precision": precision.value,
        "classifier_sha256": facts["sha256"],
        "seconds": round(time.monotonic() - started, 3),
        "versions": versions(),
    }
    publish(run.evaluation(name) / "metrics.json", to_json(result))
    return result


def _named_sets(config: RunConfig) -> dict[str, str]:
    """``--ood`` entries by the name of their set; :class:`UsageError` for a name given twice."""
    entries = config.detection.ood or default_ood(config.data.classes)
    names = [parse_ood(entry, config.data)[0] for entry in entries]
    twins = sorted(name for name in set(names) if names.count(name) > 1)
    require(not twins, f"--ood names {', '.join(map(repr, twins))} twice; give every set a name of its own")
    return dict(zip(names, entries))


def _check_fit(facts: dict[str, Any], config: RunConfig, data: IdData, name: str) -> None:
    if tuple(facts["class_names"]) != tuple(data.class_names):
        raise DataError(
            f"classifier {name} knows other classes than --classes {config.data.classes}; name the run it was trained in"
        )
    if facts["image_px"] != config.data.image_px:
        raise DataError(f"classifier {name} was trained at {facts['image_px']} px, not --image-px {config.data.image_px}")
