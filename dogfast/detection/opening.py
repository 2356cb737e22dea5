"""The detector that a path means: an exported one, or a run's, which is made where it does not stand yet."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence, collect_evidence, images_together
from dogfast.classifiers.facts import checked_facts
from dogfast.classifiers.loading import RECORD_FILE, is_trained, load_classifier
from dogfast.config import RunConfig
from dogfast.config.detection import FITTING
from dogfast.config.option import identity, one_of, require
from dogfast.config.resolve import remembered_config
from dogfast.data.catalogue import load_id, resize_of
from dogfast.detection.detector import Detector
from dogfast.detection.fitting import described, to_choose
from dogfast.detection.folder import DETECTOR_FILE, read_detector, save_detector
from dogfast.detection.inputs import Preparation
from dogfast.detection.measure import learn, teachers, validation_digest
from dogfast.detection.scores import REJECTION, SCORES, bound_scores, moves
from dogfast.detection.stage import check_fit
from dogfast.environment import choose_device
from dogfast.errors import DataError, EnvironmentFault
from dogfast.events import Events
from dogfast.run import Run, is_run, read_json

DEFAULT_SCORE = "msp"


def open_detector(path: Path, name: str, score: str, device: str) -> Detector:
    """See `Detector.load`."""
    found = found_at(path)
    if found is None:
        return exported_detector(path, score, device)
    run, known = found
    config = remembered_config(run.config_file)
    return run_detector(config, run, known or name or config.training.objective, score or DEFAULT_SCORE, device, Events())


def found_at(path: Path) -> tuple[Run, str] | None:
    """The run at ``path``, or that of the classifier there and its name; None for an exported detector.

    Raises :class:`DataError` where it is none of them.
    """
    if (path / DETECTOR_FILE).is_file():
        return None
    if is_run(path):
        return Run(path), ""
    run = path.absolute().parent.parent
    if is_trained(path) and is_run(run):
        return Run(run), path.absolute().name
    raise DataError(f"{path} is no exported detector (with {DETECTOR_FILE}), no run and no classifier of a run")


def exported_detector(folder: Path, score: str, device: str) -> Detector:
    """The one in ``folder``; :class:`UsageError` where it has another ``score`` than the one asked for, if any."""
    detector, _ = read_detector(folder)
    require(score in ("", detector.score), f"--score {score}: {folder} was exported with {detector.score}; leave --score out")
    return on_device(detector, device)


def run_detector(config: RunConfig, run: Run, name: str, score: str, device: str, events: Events) -> Detector:
    """The detector of classifier ``name`` by ``score``: the one that was kept, or made anew where that is of something else.

    Raises UsageError for an unknown score, DataError where there is no such classifier or its ID images are missing.
    """
    one_of(score, tuple(SCORES), "--score")
    classifier, folder = run.classifier(name), run.detector(name, score)
    if not is_trained(classifier):
        trained = ", ".join(sorted(path.parent.name for path in run.root.glob("classifiers/*/train.json"))) or "none at all"
        raise DataError(f"{run.root} has no classifier {name!r}; it has {trained}; `dogfast train` makes it")
    made_from = _made_from(config, run, classifier, score)
    with suppress(DataError):
        kept, facts = read_detector(folder, classifier)
        if facts.get("made_from") == made_from and kept.score == score:
            return on_device(kept, device)
    events.say(f"no detector of {name} by {score} yet: making it on the ID validation images")
    detector = make_detector(config, run, name, score, device, events)
    try:
        save_detector(folder, detector, {"made_from": made_from})
    except EnvironmentFault as error:
        events.say(f"warning: the detector is not kept: {error}")
    return detector


def on_device(detector: Detector, device: str) -> Detector:
    chosen = choose_device(device).value
    return replace(detector, model=detector.model.to(chosen), device=chosen)


def make_detector(config: RunConfig, run: Run, name: str, score: str, device: str, events: Events) -> Detector:
    """Fit ``score`` on the ID training images and choose what it needs on validation images; then score the ID ones of these.

    No test image is looked at. Arithmetic is fp32, as whoever serves a detector has it.
    """
    model, facts = load_classifier(run.classifier(name))
    require(
        score != REJECTION or facts["rejection"],
        f"--score {REJECTION}: the classifier {name} has no class of outliers; choose another",
    )
    data, device = load_id(config.data), choose_device(device).value
    check_fit(facts, config, data, name)
    model.to(device)
    names = () if score == REJECTION else (score,)
    training, validation = teachers(config, run, data, names)
    total = len(training or ()) + sum(map(len, validation or ())) + len(data.validation)
    with events.progress(f"detector {name} {score}", total) as advance:

        def look(images: torch.Tensor, *magnitudes: float) -> Evidence:
            return collect_evidence(model, images, images_together(facts["image_px"]), device, "fp32", advance, magnitudes)

        states, choices = {}, {}
        if names:
            states, choices = learn(look, training, validation, replace(config.detection, scores=names), device)
        known = look(data.validation.images, *moves(states))
    for chosen in described(choices).values():
        events.say(f"{chosen['name']} of {score} is {chosen['value']}: {chosen['reason']}")
    preparation = Preparation(facts["image_px"], resize_of(config.data.classes, config.data.classes), data.codec)
    scores = bound_scores((score,), states, device)[score](known)
    return Detector(name, model, facts, score, states.get(score, {}), scores, preparation, device=device)


def _made_from(config: RunConfig, run: Run, classifier: Path, score: str) -> dict[str, Any]:
    """What a kept detector depends on, in plain JSON types; where something of its score is chosen, on which outliers too."""
    fitting = {key: value for key, value in identity(config.detection).items() if key in FITTING}
    record = classifier / RECORD_FILE
    chosen_on = validation_digest(config, run) if to_choose((score,), config.detection) else ""
    made_from = {"classifier": checked_facts(record, read_json(record))["sha256"], **identity(config.data), **fitting}
    return made_from | ({"chosen_on": chosen_on} if chosen_on else {})
