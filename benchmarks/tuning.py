"""What no command does: tune a run's starting classifier on outliers that are no source of the run, and score it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from dogfast.classifiers.evidence import Evidence, collect_evidence, images_together
from dogfast.classifiers.loading import RECORD_FILE, load_classifier
from dogfast.config import RunConfig
from dogfast.data.catalogue import IdData
from dogfast.detection.measure import Sets, measure
from dogfast.detection.table import save_scores
from dogfast.environment import choose_device, choose_training_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, file_digest, publish, read_json, to_json
from dogfast.training.batches import Held
from dogfast.training.id_synthetic import mixed_id
from dogfast.training.loop import Machine, fit
from dogfast.training.names import start_name
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.regimes import Regime, regime_of
from dogfast.training.sources import source_digest, source_of


def few(outliers: Held, count: int) -> Held:
    """The first ``count``; as plans take the classes in turn, they are of all classes alike."""
    if len(outliers.rows) < count:
        raise DataError(f"only {len(outliers.rows)} of {count} outliers may train; raise m")
    return Held(outliers.rows[:count], *outliers.seed, id_latents=outliers.id_latents)


def starting_classifier(config: RunConfig, run: Run) -> torch.nn.Module:
    return load_classifier(run.classifier(start_name(config.training)))[0]


def tuned(config: RunConfig, run: Run, data: IdData, outliers: Held, events: Events, name: str) -> torch.nn.Module:
    """The starting classifier after the objective of ``config`` on ``outliers``; ``name`` is what is said of it."""
    return _trained(
        config, regime_of(config.training, config.objectives, config.data.classes), run, data, outliers, events, name
    )


def further(config: RunConfig, run: Run, data: IdData, events: Events, name: str) -> torch.nn.Module:
    """The starting classifier after the steps of `oe`, at its rates, on ID images alone; ``config`` is the starting classifier's."""
    regime = regime_of(replace(config.training, objective="oe"), config.objectives, config.data.classes)
    return _trained(config, replace(regime, ood_batch=0, oe_weight=0.0), run, data, None, events, name)


def _trained(
    config: RunConfig, regime: Regime, run: Run, data: IdData, outliers: Held | None, events: Events, name: str
) -> torch.nn.Module:
    model, training = starting_classifier(config, run), config.training
    images, labels = mixed_id(run, data, training.id_synthetic, config.data.image_px)
    fit(model, images, labels, outliers, regime, training, config.objectives, events, Machine(*_machine(config)), name)
    return model


def measured(folder: Path, config: RunConfig, run: Run, sets: Callable[[], Sets], model: Callable[[], torch.nn.Module]) -> None:
    """Score on ``sets`` what ``model`` makes by ``config`` into ``folder``, unless that stands, of the same start and outliers."""
    brings = OBJECTIVES[config.training.objective].brings
    settings = {
        "config": config.to_toml(),
        "start": file_digest(run.classifier(start_name(config.training)) / RECORD_FILE),
        "outliers": source_digest(run, source_of(config.training)) if brings else "",
    }
    file = folder / "settings.json"
    if not file.exists() or read_json(file) != settings:
        score(model(), sets(), config, folder)
        publish(file, to_json(settings))


def score(model: torch.nn.Module, sets: Sets, config: RunConfig, folder: Path) -> None:
    """`metrics.json` and `scores/` in ``folder``, the former last."""
    device, precision = _machine(config)
    model.to(device)

    def look(images: torch.Tensor, *magnitudes: float) -> Evidence:
        return collect_evidence(model, images, images_together(images.shape[3]), device, precision, magnitudes=magnitudes)

    found, scores = measure(look, sets, config.detection, device)
    save_scores(folder, scores)
    publish(folder / "metrics.json", to_json(found))


def _machine(config: RunConfig) -> tuple[str, str]:
    """Device and precision."""
    device = choose_device(config.model.device).value
    return device, choose_training_precision(config.training.train_precision, device).value


def chosen_precision(config: RunConfig) -> str:
    return _machine(config)[1]
