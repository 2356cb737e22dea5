"""The images a classifier is judged on, and everything that is measured on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, accuracy
from dogfast.config import RunConfig
from dogfast.config.detection import DetectionConfig
from dogfast.data.catalogue import IdData, ImageSet, group_of, load_ood
from dogfast.data.splits import is_validation_outlier
from dogfast.detection.scores import REJECTION
from dogfast.detection.scores.ash_s import choose_ash_percentile
from dogfast.detection.table import artefact_control, evaluate_scores
from dogfast.environment import Choice
from dogfast.run import Run
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import has_shards
from dogfast.shards.selection import controls, load_selected

DEFAULT_ASH_PERCENTILE = 65
VALIDATION_SOURCE = "dog"
Look = Callable[[torch.Tensor], Evidence]


@dataclass(frozen=True)
class Sets:
    """All images of one evaluation, uint8 (n, 3, H, W), as the ID codec leaves them."""

    known: ImageSet
    unknown: dict[str, torch.Tensor]
    painted_known: torch.Tensor
    """Of the ID classes, painted by the generator, seen by no training; perhaps none."""
    validation: tuple[torch.Tensor, torch.Tensor] | None
    """ID and OOD images to choose hyper-parameters of scores on; None where there are none, or nothing is to be chosen."""

    def __len__(self) -> int:
        parts = [self.known.images, *self.unknown.values(), self.painted_known, *(self.validation or ())]
        return sum(map(len, parts))


def load_sets(config: RunConfig, run: Run, data: IdData, entries: dict[str, str]) -> Sets:
    """The sets of ``entries`` (``--ood`` by name) beside the ID test set; raises DataError for what is missing."""
    unknown = {
        name: load_ood(entry, config.data, config.detection.ood_images, data.codec).images for name, entry in entries.items()
    }
    chooses = "ash-s" in config.detection.scores and not config.detection.ash_percentile
    outliers = validation_outliers(config, run, data) if chooses else None
    validation = None if outliers is None else (data.validation.images, outliers)
    return Sets(data.test, unknown, _painted_known(config, run, data), validation)


def measure(look: Look, sets: Sets, config: DetectionConfig) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
    """``id_accuracy``, ``rows``, ``artefact_control``, ``ash_percentile`` and ``ash_reason``; and the scores of every image.

    ``look`` shows a classifier images and returns its logits and features. Rows and scores are `evaluate_scores`'.
    """
    known = look(sets.known.images)
    unknown = {name: look(images) for name, images in sets.unknown.items()}
    percentile = _ash_percentile(look, sets, config)
    groups = {name: group_of(name) for name in unknown}
    names = config.scores if known.rejection is None else (*config.scores, REJECTION)
    rows, scores = evaluate_scores(known, unknown, groups, names, percentile.value)
    painted = sets.painted_known
    found = {
        "id_accuracy": accuracy(known, sets.known.labels),
        "rows": rows,
        "artefact_control": artefact_control(scores, percentile.value, look(painted)) if len(painted) else [],
        "ash_percentile": percentile.value,
        "ash_reason": percentile.reason,
    }
    return found, scores


def _ash_percentile(look: Look, sets: Sets, config: DetectionConfig) -> Choice[int]:
    """The percentile asked for, else the best on validation ID images against validation outliers, else a stated default."""
    if "ash-s" not in config.scores:
        return Choice(DEFAULT_ASH_PERCENTILE, "not used")
    if config.ash_percentile:
        return Choice(config.ash_percentile, "asked for by --ash-percentile")
    if sets.validation is None:
        return Choice(DEFAULT_ASH_PERCENTILE, "the default: the run holds no validation outliers to choose it on")
    known, outliers = map(look, sets.validation)
    return choose_ash_percentile(known, outliers)


def validation_outliers(config: RunConfig, run: Run, data: IdData) -> torch.Tensor | None:
    """Outliers that no training has seen: the validation shapes, or painted ones of validation words; None where there are none."""
    if config.data.classes == "shapes":
        return load_ood("validation-shapes", config.data, len(data.validation), data.codec, "val").images
    folder = run.outliers(VALIDATION_SOURCE)
    if not has_shards(folder):
        return None
    found = load_selected(folder, config.data.image_px, data.codec, is_validation_outlier)
    return found.images if len(found) else None


def _painted_known(config: RunConfig, run: Run, data: IdData) -> torch.Tensor:
    folder = run.outliers(ID_CONTROL)
    if not has_shards(folder):
        return data.test.images[:0]
    return load_selected(folder, config.data.image_px, data.codec, controls).images
