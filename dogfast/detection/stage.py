"""The fourth stage: a classifier's scores on ID and OOD test sets, and what they are worth."""

from __future__ import annotations

import shutil
import time
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, accuracy, collect_evidence
from dogfast.classifiers.loading import load_classifier
from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.data.catalogue import IdData, default_ood, group_of, load_id, load_ood, parse_ood
from dogfast.data.splits import is_validation_word
from dogfast.detection.scores.ash_s import choose_ash_percentile
from dogfast.detection.table import artefact_control, evaluate_scores, save_scores
from dogfast.environment import Choice, choose_device, choose_training_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, publish, to_json, versions
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import has_shards
from dogfast.shards.selection import controls, load_selected

BATCH = 500
DEFAULT_ASH_PERCENTILE = 65
VALIDATION_SOURCE = "dog"


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
    model.to(device.value)
    sets = _named_sets(config)
    images = {key: load_ood(entry, config.data, config.detection.ood_images, data.codec).images for key, entry in sets.items()}
    painted_id = id_control_images(config, run, data)
    total = len(data.test) + len(painted_id) + sum(map(len, images.values()))
    with events.progress(f"evaluate {name}", total) as advance:

        def look(pixels: torch.Tensor) -> Evidence:
            return collect_evidence(model, pixels, BATCH, device.value, precision.value, advance)

        known = look(data.test.images)
        unknown = {key: look(pixels) for key, pixels in images.items()}
        painted_known = look(painted_id)
    percentile = _ash_percentile(
        config, run, data, lambda pixels: collect_evidence(model, pixels, BATCH, device.value, precision.value)
    )
    events.say(f"{name}: ASH removes {percentile.value} %: {percentile.reason}")
    groups = {key: group_of(key) for key in unknown}
    rows, scores = evaluate_scores(known, unknown, groups, config.detection.scores, percentile.value)
    control = artefact_control(scores, percentile.value, painted_known) if len(painted_id) else []
    shutil.rmtree(run.evaluation(name) / "scores", ignore_errors=True)
    save_scores(run.evaluation(name), scores)
    result = {
        "run": str(run.root),
        "name": name,
        "id_accuracy": accuracy(known, data.test.labels),
        "rows": rows,
        "artefact_control": control,
        "ash_percentile": percentile.value,
        "ash_reason": percentile.reason,
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


def _ash_percentile(config: RunConfig, run: Run, data: IdData, look) -> Choice[int]:
    """The percentile asked for, else the best on validation ID images against validation outliers, else a stated default."""
    if "ash-s" not in config.detection.scores:
        return Choice(DEFAULT_ASH_PERCENTILE, "not used")
    if config.detection.ash_percentile:
        return Choice(config.detection.ash_percentile, "asked for by --ash-percentile")
    outliers = validation_outliers(config, run, data)
    if outliers is None:
        return Choice(DEFAULT_ASH_PERCENTILE, "the default: the run holds no validation outliers to choose it on")
    return choose_ash_percentile(look(data.validation.images), look(outliers))


def validation_outliers(config: RunConfig, run: Run, data: IdData) -> torch.Tensor | None:
    """Outliers that no training has seen: the validation shapes, or painted ones of validation words; None where there are none."""
    if config.data.classes == "shapes":
        return load_ood("validation-shapes", config.data, len(data.validation), data.codec, "val").images
    folder = run.outliers(VALIDATION_SOURCE)
    if not has_shards(folder):
        return None
    found = load_selected(folder, config.data.image_px, data.codec, lambda facts: is_validation_word(facts["anchor"]))
    return found.images if len(found) else None


def id_control_images(config: RunConfig, run: Run, data: IdData) -> torch.Tensor:
    """ID-class images of the generator that no training has seen, uint8 (n, 3, H, W); none where the run has no id-control."""
    folder = run.outliers(ID_CONTROL)
    if not has_shards(folder):
        return data.test.images[:0]
    return load_selected(folder, config.data.image_px, data.codec, controls).images
