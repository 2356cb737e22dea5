"""The images a classifier is judged on, and everything that is measured on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, accuracy
from dogfast.config import RunConfig
from dogfast.config.detection import DetectionConfig
from dogfast.config.option import require
from dogfast.data.catalogue import IdData, ImageSet, load_ood
from dogfast.data.codec import Codec
from dogfast.data.corruptions import SEVERITIES
from dogfast.data.splits import PAINTING_WORDS, is_validation_outlier
from dogfast.detection.corrupted import corrupted_refusal, to_corrupt
from dogfast.detection.fitting import CANDIDATES, Choices, described, fit_scores, fitted, to_choose
from dogfast.detection.protocols import NOTES, add_protocol, group_means
from dogfast.detection.scores import REJECTION, State, bound_scores, moves
from dogfast.detection.table import ID, Rows, artefact_control, evaluate_scores
from dogfast.numerics.bootstrap import intervals
from dogfast.numerics.metrics import threshold_at_recall
from dogfast.run import Run, digest
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.reader import has_shards, read_records
from dogfast.shards.selection import controls, load_selected
from dogfast.store import Place

PAINTED, TRAINING = "id+painted", "id+train"
VALIDATION = ("id+validation", "ood+validation")
OURS = (ID, PAINTED, TRAINING, *VALIDATION)
Look = Callable[..., Evidence]
"""Images uint8 (n, 3, H, W), and the magnitudes they shall be moved by as well, to what a classifier shows of them."""


@dataclass(frozen=True)
class Sets:
    """All images of one evaluation, uint8 (n, 3, H, W), as the ID codec leaves them."""

    known: ImageSet
    unknown: dict[str, torch.Tensor]
    facts: dict[str, dict[str, Any]]
    """Of every OOD set, what was read, and its group beside the ID set."""
    painted_known: torch.Tensor
    """Of the ID classes, painted by the generator, seen by no training; perhaps none."""
    validation: tuple[torch.Tensor, torch.Tensor] | None
    """ID and OOD images to choose hyper-parameters of scores on; None where there are none, or nothing is to be chosen."""
    training: ImageSet | None = None
    """ID images to fit scores on; None where nothing is to be fitted."""
    corruptible: tuple[ImageSet, Codec] | None = None
    """ID test images to be corrupted, and the codec they go through once more; None where none are."""

    def __len__(self) -> int:
        corrupted = len(SEVERITIES) * len(self.corruptible[0]) if self.corruptible else 0
        return corrupted + sum(len(images) for images, _ in self.named().values())

    def named(self) -> dict[str, tuple[torch.Tensor, torch.Tensor | None]]:
        """Every set that is looked at as it is, by a name of its own, with the class labels of ID images."""
        found = {ID: (self.known.images, self.known.labels)} | {name: (images, None) for name, images in self.unknown.items()}
        if len(self.painted_known):
            found[PAINTED] = (self.painted_known, None)
        if self.validation is not None:
            found |= {name: (images, None) for name, images in zip(VALIDATION, self.validation)}
        if self.training is not None:
            found[TRAINING] = (self.training.images, self.training.labels)
        return found


def load_sets(config: RunConfig, run: Run, data: IdData, entries: dict[str, str]) -> Sets:
    """The sets of ``entries`` (``--ood`` by name) beside the ID test set; raises DataError for what is missing."""
    for name in entries:
        require(name not in OURS, f"--ood: an OOD set cannot be called {name!r}, which names a set of ours; call it otherwise")
    loaded = {name: load_ood(entry, config.data, config.detection.ood_images, data.codec) for name, entry in entries.items()}
    unknown, facts = ({name: getattr(found, part) for name, found in loaded.items()} for part in ("images", "facts"))
    training, validation = teachers(config, run, data, config.detection.scores)
    painted = _painted_known(config, run, data)
    count = config.detection.corrupted_images
    corruptible = (to_corrupt(data.test, count), data.codec) if count else None
    return Sets(data.test, unknown, facts, painted, validation, training, corruptible)


def measure(
    look: Look, sets: Sets, config: DetectionConfig, device: str = "cpu"
) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
    """``id_accuracy``, ``rows``, their ``means``, ``artefact_control``, ``corrupted_id``, ``hyper_parameters``, ``protocol``; and the
    scores of every image.

    ``look`` shows a classifier images and returns its logits and features; scores are made on ``device``. Rows and scores are
    `evaluate_scores`', each row with the 95 % intervals ``fpr95_interval`` and ``auroc_interval`` over test images, and what
    the protocol adds. What is fitted and chosen is so before a test image is looked at.
    """
    states, choices = learn(look, sets.training, sets.validation, config, device)

    def see(images: torch.Tensor) -> Evidence:
        return look(images, *moves(states))

    known = see(sets.known.images)
    unknown = {name: see(images) for name, images in sets.unknown.items()}
    groups = {name: sets.facts[name]["group"] for name in unknown}
    names = config.scores if known.rejection is None else (*config.scores, REJECTION)
    bound = bound_scores(names, states, device)
    rows, scores = evaluate_scores(known, unknown, groups, bound)
    _add_intervals(rows, scores)
    add_protocol(rows, scores, config.protocol, config.protocol_seed)
    thresholds = {name: threshold_at_recall(of_sets[ID]) for name, of_sets in scores.items()}
    painted = sets.painted_known
    found = {
        "id_accuracy": accuracy(known, sets.known.labels),
        "rows": rows,
        "means": group_means(rows, config.protocol),
        "protocol": {"name": config.protocol, "note": NOTES[config.protocol], "seed": config.protocol_seed},
        "artefact_control": artefact_control(thresholds, bound, see(painted)) if len(painted) else [],
        "corrupted_id": corrupted_refusal(see, *sets.corruptible, bound, thresholds) if sets.corruptible else [],
        "hyper_parameters": described(choices),
    }
    return found, scores


def _add_intervals(rows: Rows, scores: dict[str, dict[str, torch.Tensor]]) -> None:
    of_rows = intervals([(scores[row["score"]][ID], scores[row["score"]][row["dataset"]]) for row in rows])
    for row, found in zip(rows, of_rows):
        row |= {f"{measure}_interval": bounds for measure, bounds in found.items()}


def learn(
    look: Look,
    training: ImageSet | None,
    validation: tuple[torch.Tensor, torch.Tensor] | None,
    config: DetectionConfig,
    device: str = "cpu",
) -> tuple[dict[str, State], Choices]:
    """The states of the scores of ``config``, and the choices in them: `fit_scores` on what ``look`` sees of the images.

    ``training``, needed where `fitted` names a score, and ``validation``, ID and OOD images, are looked at where given.
    """
    known = None if training is None else (look(training.images), training.labels)
    tried = tuple(filter(None, CANDIDATES["odin"][1])) if "odin" in config.scores else ()
    judged = None if validation is None else (look(validation[0], *tried), look(validation[1], *tried))
    return fit_scores(config.scores, known, judged, config, device)


def teachers(
    config: RunConfig, run: Run, data: IdData, names: tuple[str, ...]
) -> tuple[ImageSet | None, tuple[torch.Tensor, torch.Tensor] | None]:
    """What `learn` is to look at for the scores ``names``: ID training images, and ID and OOD validation images, where needed."""
    outliers = validation_outliers(config, run, data) if to_choose(names, config.detection) else None
    validation = None if outliers is None else (data.validation.images, outliers)
    return data.train if fitted(names) else None, validation


def validation_outliers(
    config: RunConfig,
    run: Run,
    data: IdData,
    sources: tuple[str, ...] = PAINTING_WORDS,
    belongs: Callable[[dict[str, Any]], bool] = lambda facts: True,
) -> torch.Tensor | None:
    """Outliers that no training has seen, uint8 (n, 3, H, W): the validation shapes, or painted ones of validation words, which
    ``belongs`` accepts, of the first of ``sources`` that is painted; None where there are none. A synonym of such a word may have been
    painted for the training."""
    if config.data.classes == "shapes":
        return load_ood("validation-shapes", config.data, len(data.validation), data.codec, "val").images
    folder = _painted_from_words(run, sources)
    if folder is None:
        return None
    found = load_selected(
        folder, config.data.image_px, data.codec, lambda facts: is_validation_outlier(facts) and belongs(facts)
    )
    return found.images if len(found) else None


def validation_digest(config: RunConfig, run: Run) -> str:
    """A digest of the shards that `validation_outliers` are of; empty where they are of none."""
    folder = None if config.data.classes == "shapes" else _painted_from_words(run, PAINTING_WORDS)
    return "" if folder is None else digest([record["sha256"] for record in read_records(folder)])


def _painted_from_words(run: Run, sources: tuple[str, ...]) -> Place | None:
    return next(filter(has_shards, map(run.outliers, sources)), None)


def _painted_known(config: RunConfig, run: Run, data: IdData) -> torch.Tensor:
    folder = run.outliers(ID_CONTROL)
    if not has_shards(folder):
        return data.test.images[:0]
    return load_selected(folder, config.data.image_px, data.codec, controls).images
