"""A detector: a classifier that says of an image what it is, and whether it knows such images at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from dogfast.classifiers.evidence import Evidence, collect_evidence, images_together
from dogfast.detection.inputs import Preparation
from dogfast.detection.scores import Score, State, bound_scores, moves
from dogfast.errors import DataError
from dogfast.numerics.metrics import RECALL, threshold_at_recall

Picture = Image.Image | Path | str


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What a detector says of n images."""

    class_names: tuple[str, ...]
    """of every image, the ID class it would be"""
    probabilities: Tensor
    """(n, C), softmax of the logits"""
    score: Tensor
    """(n,), larger = more ID"""
    known: Tensor
    """(n,) bool: whether the score reaches the threshold"""


@dataclass(frozen=True, eq=False)
class Detector:
    """A classifier, a score of it, and a threshold that accepts the share ``recall`` of ID validation images.

    Called with images it returns `Verdicts`. They are a uint8 tensor (n, 3, S, S), taken to be as ID images are, or Pillow
    images and file names, one or a list, which ``preparation`` brings to that. Arithmetic is fp32.
    """

    name: str
    """the classifier's"""
    model: nn.Module
    """in eval mode on ``device``"""
    facts: dict[str, Any]
    """the classifier's record"""
    score: str
    state: State
    """what the score was fitted or chosen to be"""
    validation: Tensor
    """(n,), the scores of ID validation images"""
    preparation: Preparation
    recall: float = RECALL
    device: str = "cpu"

    @classmethod
    def load(cls, path: Path | str, name: str = "", score: str = "", device: str = "auto") -> Detector:
        """The detector at ``path``: an exported folder, a classifier of a run, or a run, of which ``name`` is a classifier.

        ``name`` defaults to the objective the run was last used with, ``score`` to `msp`, for an exported one to its own.
        What a run has no detector of yet is made of its ID images, which takes a while, and kept. Raises DogfastError.
        """
        from dogfast.detection.opening import open_detector

        return open_detector(Path(path), name, score, device)

    @cached_property
    def threshold(self) -> float:
        """The least score of an image that counts as known."""
        return threshold_at_recall(self.validation, self.recall)

    @cached_property
    def scores(self) -> Score:
        """The score as a function of evidence, (n,), on the CPU."""
        return bound_scores((self.score,), {self.score: self.state}, self.device)[self.score]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.facts["class_names"])

    @property
    def side_px(self) -> int:
        return self.preparation.side_px

    def __call__(self, images: Tensor | Sequence[Picture] | Picture) -> Verdicts:
        """Raises :class:`DataError` for images of another shape, for files that are none, and for scores that are NaN."""
        seen = [(evidence.logits, self.scores(evidence)) for evidence in map(self.evidence, self._batches(images))]
        logits, scores = map(torch.cat, zip(*seen))
        if scores.isnan().any():
            raise DataError(
                f"the score {self.score} of {int(scores.isnan().sum())} images is NaN; check the classifier's weights"
            )
        names, labels = self.class_names, logits.argmax(1).tolist()
        return Verdicts(tuple(names[label] for label in labels), logits.softmax(1), scores, scores >= self.threshold)

    def evidence(self, images: Tensor) -> Evidence:
        """What the classifier shows of ``images``, uint8 (n, 3, S, S)."""
        together = images_together(self.side_px)
        return collect_evidence(self.model, images, together, self.device, "fp32", magnitudes=moves({self.score: self.state}))

    def _batches(self, images: Tensor | Sequence[Picture] | Picture) -> Iterator[Tensor]:
        """uint8 (k, 3, S, S), at least one."""
        together = images_together(self.side_px)
        if isinstance(images, Tensor):
            shape = (3, self.side_px, self.side_px)
            if images.dtype != torch.uint8 or images.shape[1:] != shape:
                raise DataError(
                    f"images are {images.dtype} {tuple(images.shape)}; give uint8 (n, {', '.join(map(str, shape))}), or a list "
                    "of Pillow images or file names"
                )
            yield from images.split(together)
            return
        images = [images] if isinstance(images, str | Path | Image.Image) else images
        for start in range(0, max(1, len(images)), together):
            yield stacked([self._pixels(image) for image in images[start : start + together]], self.side_px)

    def _pixels(self, image: Picture) -> np.ndarray:
        try:
            if isinstance(image, Image.Image):
                return self.preparation.of_picture(image)
            return self.preparation.of_file(Path(image).read_bytes())
        except OSError as error:
            raise DataError(f"{image} cannot be read ({error.strerror or error})") from error
        except ValueError as error:
            raise DataError(f"{image} is no image that can be read ({error})") from error


def stacked(pixels: list[np.ndarray], side_px: int) -> Tensor:
    """Images uint8 (side, side, 3), perhaps none, as one tensor (n, 3, side, side)."""
    together = np.stack(pixels) if pixels else np.empty((0, side_px, side_px, 3), np.uint8)
    return torch.from_numpy(together).permute(0, 3, 1, 2).contiguous()
