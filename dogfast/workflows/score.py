"""`dogfast score`: a detector on any number of images, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from dogfast.config import RunConfig
from dogfast.config.option import require
from dogfast.detection.detector import Detector, stacked
from dogfast.detection.inputs import Input, Preparation
from dogfast.detection.opening import DEFAULT_SCORE, exported_detector, found_at, run_detector
from dogfast.events import Events
from dogfast.training.names import classifier_name

TOGETHER = 64
"""Images that are decoded, held and looked at together."""
KNOWN, UNKNOWN = "id", "ood"
Explain = Callable[[torch.Tensor], list[str]]
"""Images uint8 (n, 3, S, S) to why each was refused."""


@dataclass(frozen=True)
class Scored:
    """An image by its name: ``verdict`` "id" or "ood", the ID class it would be, its score, and why it was refused."""

    image: str
    verdict: str
    class_name: str
    score: float
    why: str = ""


def open_scorer(path: Path, config: RunConfig, score: str, why: bool, events: Events) -> tuple[Detector, Explain | None]:
    """The detector at ``path``, of a run the one that ``config`` names; and where asked for, what explains its refusals.

    Raises :class:`UsageError` where an exported detector, which knows no run, shall explain.
    """
    found = found_at(path)
    if found is None:
        require(not why, f"--why needs the anchors and the generator of the run; name it instead of {path}")
        return exported_detector(path, score, config.model.device), None
    run, name = found
    detector = run_detector(
        config, run, name or classifier_name(config.training), score or DEFAULT_SCORE, config.model.device, events
    )
    if not why:
        return detector, None
    from dogfast.workflows.why import explainer  # diffusers takes seconds to import

    return detector, explainer(config, run, detector.class_names, events)


def score_images(detector: Detector, inputs: Iterable[Input], explain: Explain | None = None) -> Iterator[Scored | Input]:
    """Every input in its order: scored, or as it came with the fault that kept it from being so."""
    inputs = iter(inputs)
    with ThreadPoolExecutor(2) as pool:
        while some := list(islice(inputs, TOGETHER)):
            prepared = list(pool.map(lambda item: _prepared(detector.preparation, item), some))
            yield from _judged(detector, some, prepared, explain)


def _prepared(preparation: Preparation, item: Input) -> np.ndarray | Input:
    if item.fault:
        return item
    try:
        return preparation.of_file(item.content)
    except ValueError as error:
        return Input(item.name, fault=str(error))


def _judged(
    detector: Detector, inputs: list[Input], prepared: list[np.ndarray | Input], explain: Explain | None
) -> Iterator[Scored | Input]:
    images = stacked([pixels for pixels in prepared if not isinstance(pixels, Input)], detector.side_px)
    verdicts = detector(images)
    reasons = iter(explain(images[~verdicts.known]) if explain and not verdicts.known.all() else ())
    found = iter(zip(verdicts.known.tolist(), verdicts.class_names, verdicts.score.tolist()))
    for item, pixels in zip(inputs, prepared):
        if isinstance(pixels, Input):
            yield pixels
            continue
        known, name, score = next(found)
        yield Scored(item.name, KNOWN if known else UNKNOWN, name, score, "" if known else next(reasons, ""))
