"""The third stage: a classifier from ID images, or one that learned from outliers too."""

from __future__ import annotations

import shutil
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import torch

from dogfast.classifiers.evidence import accuracy, collect_evidence, images_together
from dogfast.classifiers.facts import BUILT_FROM
from dogfast.classifiers.loading import RECORD_FILE, extend, is_trained, load_classifier, save_classifier
from dogfast.config import RunConfig
from dogfast.config.option import identity
from dogfast.config.training import START
from dogfast.data.catalogue import IdData, count_warning, load_id
from dogfast.environment import choose_device, choose_training_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.processes import told
from dogfast.rounds import plan_file
from dogfast.run import Run, read_json, refuse_difference, versions
from dogfast.seeds import derive_seed
from dogfast.shards.format import ID_CONTROL
from dogfast.training.id_synthetic import mixed_id
from dogfast.training.loop import Keeping, Machine, fit
from dogfast.training.metrics import metrics_log
from dogfast.training.names import classifier_name, start_name
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.ranks import ALONE, Ranks
from dogfast.training.regimes import regime_of
from dogfast.training.sources import follows, outlier_fields, painted_source, source_digest, training_outliers
from dogfast.training.start import fresh_classifier, start_fields

OF_EVERY = ("backbone", "weights", "dropout", "momentum", "accumulate", "ema", "train_precision", "train_seed")
RECORD = {
    "identity": dict,
    "sha256": str,
    "validation_accuracy": float,
    "seconds": int | float,
    "img_per_s": int | float,
    "skipped_steps": int,
    "shards": list | None,
}
"""What this stage reads of a classifier's record."""
FOLLOWED = "followed"
"""What outliers are called while they are painted; the record of a training that followed names the shards it has seen."""


def train(config: RunConfig, run: Run, events: Events, ranks: Ranks = ALONE, folder: Path | None = None) -> dict[str, Any]:
    """Train `ce`, or by ``config.training.objective``, into ``folder`` (`classifiers/<name>/`). Of several processes, the first calls.

    A classifier that stands is not trained again, and one that was interrupted goes on where its last checkpoint was taken.
    Raises RunMismatch when it was trained with other fields.
    """
    name = classifier_name(config.training)
    folder, data = folder or run.classifier(name), load_id(config.data)
    if is_trained(folder):
        record = _record(folder)
        fields = training_identity(config, run, data, record.get("shards"))
        of_round = " (or give --round 1, as `refine` does for its first round)" if _was_refined(config, run) else ""
        refuse_difference(f"{folder}", record["identity"], fields, f"remove {folder} to train it anew{of_round}")
        return _summary(run, name, folder, record, resumed=True)
    fields = _identity_before(config, run, data)
    if warning := count_warning(data.train.facts):
        events.say(warning)
    ranks.tell((config, run.root.absolute(), folder.absolute()))
    model, record = _train(config, run, folder, data, fields, events, ranks)
    save_classifier(folder, model, record)
    shutil.rmtree(checkpoint_of(folder).parent, ignore_errors=True)
    return _summary(run, name, folder, record, resumed=False)


def _was_refined(config: RunConfig, run: Run) -> bool:
    """Whether ``config`` means all of a source that `refine` added to."""
    source = painted_source(config.training)
    return bool(source) and not config.training.round and plan_file(run, source, 1).exists()


def assist(ranks: Ranks) -> None:
    """What every other process does: its part of each training that the first begins."""
    while (task := told(None)) is not None:
        config, root, folder = task
        run, data = Run(root), load_id(config.data)
        _train(config, run, folder, data, _identity_before(config, run, data), Events(), ranks)


def checkpoint_of(folder: Path) -> Path:
    """Where the training of the classifier in ``folder`` is kept while it lasts."""
    return folder / "checkpoints" / "last.safetensors"


def training_identity(config: RunConfig, run: Run, data: IdData, shards: list[str] | None = None) -> dict[str, Any]:
    """The fields and inputs this classifier depends on; fields of other objectives are left out.

    ``shards``: those that a training which followed has seen; the others do not concern it.
    """
    fields, settings = _identity_but_outliers(config, run, data), config.training
    if OBJECTIVES[settings.objective].brings:
        fields |= outlier_fields(settings, run, shards)
    return fields


def tuning_fields(config: RunConfig) -> dict[str, Any]:
    """The fields that say how a classifier is trained, without what it is trained on; those of other objectives are left out."""
    settings, methods = config.training, identity(config.objectives)
    read = OBJECTIVES[settings.objective].reads
    fields: dict[str, Any] = {
        "objective": settings.objective,
        **identity(config.data),
        **regime_of(settings, config.objectives, config.data.classes).by_flag(),
        **{name: value for name, value in identity(settings).items() if name in OF_EVERY},
        **start_fields(config),
        **{name: value for name, value in methods.items() if name.startswith(read)},
    }
    return fields | ({"id_synthetic": settings.id_synthetic} if settings.objective != START else {})


def _identity_but_outliers(config: RunConfig, run: Run, data: IdData) -> dict[str, Any]:
    fields = tuning_fields(config) | {"id_data": data.train.digest[:16]}
    if fields["start"] == START:
        fields["start"] = _record(run.classifier(start_name(config.training)))["sha256"][:16]
    if fields.get("id_synthetic"):
        fields["id_control"] = source_digest(run, ID_CONTROL)
    return fields


def _identity_before(config: RunConfig, run: Run, data: IdData) -> dict[str, Any]:
    """`training_identity` of what is about to be trained: what follows does not know its outliers yet."""
    if not follows(config.training):
        return training_identity(config, run, data)
    return _identity_but_outliers(config, run, data) | {"outliers": FOLLOWED}


def _train(
    config: RunConfig, run: Run, folder: Path, data: IdData, fields: dict[str, Any], events: Events, ranks: Ranks
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A trained classifier and its record; every process gets the same."""
    settings, name = config.training, classifier_name(config.training)
    regime = regime_of(settings, config.objectives, config.data.classes)
    device = choose_device(config.model.device)
    precision = choose_training_precision(settings.train_precision, device.value)
    events.say(f"{name}: {settings.backbone} on {device.value} ({device.reason}), {precision.value} ({precision.reason})")
    model, facts = _start(config, run, data, events)
    share = settings.id_synthetic if settings.objective != START else 0.0
    images, labels = mixed_id(run, data, share, config.data.image_px)
    brings, drawn = OBJECTIVES[settings.objective].brings, _drawing_anew(config)
    outliers = training_outliers(drawn, run, data, events, ranks) if brings else None
    with (
        closing(outliers) if outliers is not None else nullcontext(),
        metrics_log(folder, name, settings.track, ranks, fields) as log,
    ):
        outcome = fit(
            model,
            images,
            labels,
            outliers,
            regime,
            drawn.training,
            config.objectives,
            events,
            Machine(device.value, precision.value, ranks),
            f"train {name}",
            log,
            Keeping(checkpoint_of(folder), fields, 60 * settings.checkpoint_minutes),
        )
    if follows(settings):
        facts["shards"] = sorted(outliers.seen)
        events.say(f"{name} has seen {len(facts['shards'])} shards of {settings.outliers}")
        fields = training_identity(config, run, data, facts["shards"])
    together = images_together(config.data.image_px)
    shown = collect_evidence(model, data.validation.images, together, device.value, precision.value)
    judged = {"identity": fields, "validation_accuracy": accuracy(shown, data.validation.labels), "versions": versions()}
    return model, facts | outcome | judged


def _drawing_anew(config: RunConfig) -> RunConfig:
    """``config`` with a seed of its round, so that no round of `refine` repeats the batches and augmentations of another."""
    settings = config.training
    seed = derive_seed(settings.train_seed, "round", settings.round) if settings.round > 1 else settings.train_seed
    return config.with_values({"training": {"train_seed": seed}}, "refine")


def _start(config: RunConfig, run: Run, data: IdData, events: Events) -> tuple[torch.nn.Module, dict[str, Any]]:
    """What the training begins with, as the objective needs it, and the facts it is built from."""
    settings, method = config.training, OBJECTIVES[config.training.objective]
    torch.manual_seed(settings.train_seed)
    if regime_of(settings, config.objectives, config.data.classes).start == START and settings.objective != START:
        _refuse_stale_start(config, run, data)
        model, record = load_classifier(run.classifier(start_name(settings)))
        facts = {name: record[name] for name in BUILT_FROM}
    else:
        model, facts = fresh_classifier(config, data, events)
    extended = extend(model, rejection=method.rejects, rotations=method.rotates)
    return extended, facts | {"rejection": method.rejects, "rotations": method.rotates}


def _refuse_stale_start(config: RunConfig, run: Run, data: IdData) -> None:
    """Raise RunMismatch when `ce`, to start from, was trained with other fields than ``config`` gives it."""
    if config.training.round > 1:
        return
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


def _summary(run: Run, name: str, folder: Path, record: dict[str, Any], resumed: bool) -> dict[str, Any]:
    return {
        "run": str(run.root),
        "name": name,
        "model": str(folder / "model.safetensors"),
        "id_accuracy": record["validation_accuracy"],
        "seconds": round(record["seconds"], 3),
        "img_per_s": round(record["img_per_s"], 1),
        "skipped_steps": record["skipped_steps"],
        "resumed": resumed,
    }
