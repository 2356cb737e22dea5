"""The third stage: a classifier from ID images, and tuned on outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dogfast.classifiers.evidence import accuracy, collect_evidence
from dogfast.classifiers.loading import RECORD_FILE, build, is_trained, load_classifier, save_classifier
from dogfast.config import RunConfig
from dogfast.config.option import identity
from dogfast.data.catalogue import IdData, load_id
from dogfast.environment import choose_device, choose_training_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, read_json, refuse_difference, versions
from dogfast.shards.format import ID_CONTROL
from dogfast.training.id_synthetic import mixed_id
from dogfast.training.loop import fit
from dogfast.training.names import classifier_name, start_name
from dogfast.training.sources import source_digest, training_outliers

EVALUATION_BATCH = 500
OF_EVERY = ("backbone", "dropout", "batch", "momentum", "weight_decay", "train_precision", "train_seed")
OF_START = ("pretrain_epochs", "pretrain_lr")
OF_TUNING = ("epochs", "lr", "ood_batch", "oe_weight", "id_synthetic")
RECORD = {
    "identity": dict,
    "sha256": str,
    "validation_accuracy": float,
    "seconds": int | float,
    "img_per_s": int | float,
    "skipped_steps": int,
}
"""What this stage reads of a classifier's record."""


def train(config: RunConfig, run: Run, events: Events) -> dict[str, Any]:
    """Train `ce`, or tune it by ``config.training.objective`` on outliers; writes `classifiers/<name>/`.

    A classifier that stands is not trained again. Raises RunMismatch when it was trained with other fields.
    """
    settings = config.training
    name = classifier_name(settings)
    folder = run.classifier(name)
    data = load_id(config.data)
    fields = training_identity(config, run, data)
    if is_trained(folder):
        record = _record(folder)
        refuse_difference(f"{folder}", record["identity"], fields, f"remove {folder} to train it anew")
        return _summary(run, name, record, resumed=True)
    device = choose_device(config.model.device)
    precision = choose_training_precision(settings.train_precision, device.value)
    events.say(f"{name}: {settings.backbone} on {device.value} ({device.reason}), {precision.value} ({precision.reason})")
    model, facts = _start(config, run, data)
    tuning = settings.objective != "ce"
    images, labels = mixed_id(run, data, settings.id_synthetic if tuning else 0.0, config.data.image_px)
    outcome = fit(
        model,
        images,
        labels,
        training_outliers(run, settings.outliers, data, config.data.image_px) if tuning else None,
        settings,
        settings.objective,
        settings.epochs if tuning else settings.pretrain_epochs,
        settings.lr if tuning else settings.pretrain_lr,
        device.value,
        precision.value,
        events,
        f"train {name}",
    )
    shown = collect_evidence(model, data.validation.images, EVALUATION_BATCH, device.value, precision.value)
    record = (
        facts
        | outcome
        | {"identity": fields, "validation_accuracy": accuracy(shown, data.validation.labels), "versions": versions()}
    )
    save_classifier(folder, model, record)
    return _summary(run, name, record, resumed=False)


def training_identity(config: RunConfig, run: Run, data: IdData) -> dict[str, Any]:
    """The fields and inputs this classifier depends on; fields of other objectives are left out."""
    settings = config.training
    names = OF_EVERY + OF_START
    fields: dict[str, Any] = {"id_data": data.train.digest[:16], **identity(config.data)}
    if settings.objective != "ce":
        names += OF_TUNING
        start = _record(run.classifier(start_name(settings)))
        fields |= {"outliers": source_digest(run, settings.outliers), "start": start["sha256"][:16]}
        if settings.id_synthetic:
            fields["id_control"] = source_digest(run, ID_CONTROL)
    chosen = {
        key: value
        for key, value in identity(settings).items()
        if key in names or (settings.objective == "dog" and key.startswith("wor_"))
    }
    return fields | {"objective": settings.objective} | chosen


def _start(config: RunConfig, run: Run, data: IdData) -> tuple[torch.nn.Module, dict[str, Any]]:
    settings = config.training
    if settings.objective != "ce":
        _refuse_stale_start(config, run, data)
        model, record = load_classifier(run.classifier(start_name(settings)))
        return model, {key: record[key] for key in ("backbone", "class_names", "image_px", "mean", "std", "dropout")}
    pixels = data.train.images.float() / 255
    facts = {
        "backbone": settings.backbone,
        "class_names": list(data.class_names),
        "image_px": config.data.image_px,
        "mean": pixels.mean((0, 2, 3)).tolist(),
        "std": pixels.std((0, 2, 3)).clamp(min=1e-3).tolist(),
        "dropout": settings.dropout,
    }
    torch.manual_seed(settings.train_seed)
    return build(facts["backbone"], data.class_names, facts["mean"], facts["std"], settings.dropout), facts


def _refuse_stale_start(config: RunConfig, run: Run, data: IdData) -> None:
    """Raise RunMismatch when the classifier to start from was trained with other fields than ``config`` gives `ce`."""
    folder = run.classifier(start_name(config.training))
    wanted = config.with_values({"training": {"objective": "ce"}}, "the starting classifier")
    refuse_difference(
        f"{folder}", _record(folder)["identity"], training_identity(wanted, run, data), f"remove {folder} to train it anew"
    )


def _record(folder: Path) -> dict[str, Any]:
    """A committed classifier's record; :class:`DataError` names the field that is missing or of the wrong type."""
    record = read_json(folder / RECORD_FILE)
    for name, kind in RECORD.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kind):
            raise DataError(f"{folder / RECORD_FILE} has no proper {name!r}; remove {folder} and train it again")
    return record


def _summary(run: Run, name: str, record: dict[str, Any], resumed: bool) -> dict[str, Any]:
    return {
        "run": str(run.root),
        "name": name,
        "model": str(run.classifier(name) / "model.safetensors"),
        "id_accuracy": record["validation_accuracy"],
        "seconds": round(record["seconds"], 3),
        "img_per_s": round(record["img_per_s"], 1),
        "skipped_steps": record["skipped_steps"],
        "resumed": resumed,
    }
