"""`dogfast export`: a detector as a folder that needs nothing else, for Python or as an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dogfast.classifiers.loading import is_trained
from dogfast.config import RunConfig
from dogfast.config.option import one_of, require
from dogfast.detection.folder import is_nothing_but_a_detector, save_with_classifier
from dogfast.detection.graph import refuse_score
from dogfast.detection.opening import DEFAULT_SCORE, on_device, run_detector
from dogfast.detection.scores import SCORES
from dogfast.events import Events
from dogfast.folders import check_free, whole_folder
from dogfast.numerics.metrics import RECALL
from dogfast.run import Run
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_train
from dogfast.workflows.detector_graph import write_detector_graph

DETECTOR, ONNX = FORMATS = ("detector", "onnx")


@dataclass(frozen=True, kw_only=True)
class Request:
    """``score`` and ``recall``, the share of ID validation images that are accepted, in (0, 1], make the detector; ``format`` is "detector"
    or "onnx"; ``folder``: where to write, RUN/export/CLASSIFIER-SCORE where it is None."""

    score: str = DEFAULT_SCORE
    recall: float = RECALL
    format: str = DETECTOR
    folder: Path | None = None

    def __post_init__(self) -> None:
        one_of(self.score, tuple(SCORES), "--score")
        one_of(self.format, FORMATS, "--format")
        require(0 < self.recall <= 1, f"--recall {self.recall:g} is no share; choose one above 0 and at most 1, as {RECALL}")
        if self.format == ONNX:
            refuse_score(self.score)

    def place(self, config: RunConfig, run: Run) -> Path:
        """Where to write; :class:`UsageError` where something else is there."""
        found = self.folder or run.root / "export" / f"{classifier_name(config.training)}-{self.score}"
        check_free(found, is_nothing_but_a_detector)
        return found


def run_export(config: RunConfig, run: Run, events: Events, request: Request) -> dict[str, Any]:
    """Write the detector of the chosen classifier, which is trained first where it is not."""
    name, output = classifier_name(config.training), request.place(config, run)
    if not is_trained(run.classifier(name)):
        events.say(f"no classifier {name!r} yet: training it first")
        run_train(config, run, events)
    made = run_detector(config, run, name, request.score, config.model.device, events)
    detector, facts = replace(on_device(made, "cpu"), recall=request.recall), {}
    with whole_folder(output, is_nothing_but_a_detector) as folder:
        if request.format == ONNX:
            facts["parity"] = write_detector_graph(detector, folder)
            events.say(f"the graph compared with torch: {facts['parity']['verdict']}")
        said = save_with_classifier(folder, detector, facts)
    shown = ("score", "recall", "threshold", "validation_images", "files")
    return {
        "run": str(run.root),
        "name": name,
        "output": str(output),
        "format": request.format,
        **{k: said[k] for k in shown},
        **facts,
    }


def plan_export(config: RunConfig, run: Run, events: Events, request: Request) -> dict[str, Any]:
    name, output = classifier_name(config.training), request.place(config, run)
    return {
        "name": name,
        "trained": is_trained(run.classifier(name)),
        "score": request.score,
        "recall": request.recall,
        "format": request.format,
        "output": str(output),
        "bytes": "the classifier" + (", twice" if request.format == ONNX else ""),
    }
