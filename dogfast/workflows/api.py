"""The Python API: the command line's verbs as functions of a configuration and a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dogfast.concepts.stage import find_anchors
from dogfast.config import RunConfig
from dogfast.events import Events, Sink
from dogfast.run import Run, beside, default_place, launch
from dogfast.workflows import build_engines as engines
from dogfast.workflows import chain
from dogfast.workflows.compare import compare as run_compare
from dogfast.workflows.comparison.request import Comparison
from dogfast.workflows.demo import demo as run_demo
from dogfast.workflows.export import Request, run_export
from dogfast.workflows.refine import refine as run_refine
from dogfast.workflows.refinement.request import Refinement

Work = Callable[[RunConfig, Run, Events], dict[str, Any]]


def _verb(name: str, work: Work, what: str) -> Callable[..., dict[str, Any]]:
    def verb(config: RunConfig, output: Path | str | None = None, *sinks: Sink) -> dict[str, Any]:
        place = default_place(config.data.classes) if output is None else Path(output)
        opening = beside if config.training.follow and work is chain.run_train else launch
        with opening(place, config.to_toml()) as run:
            events = Events(*sinks)
            run.say = events.say
            return work(config, run, events)

    verb.__doc__ = (
        f"{what} in the run at ``output`` (default runs/CLASSES); returns what the command prints as JSON, raises DogfastError."
    )
    verb.__name__ = verb.__qualname__ = name
    return verb


anchors = _verb("anchors", find_anchors, "Find the anchors of every class")
generate = _verb("generate", chain.run_generate, "Paint outliers into shards")
train = _verb("train", chain.run_train, "Train or tune a classifier")
evaluate = _verb("evaluate", chain.run_evaluate_with_baseline, "Score a classifier")
report = _verb("report", chain.run_report, "Write the report")
demo = _verb("demo", run_demo, "Do the whole job")


def compare(config: RunConfig, output: Path | str | None = None, *sinks: Sink, **wanted: Any) -> dict[str, Any]:
    """Make the papers' tables in the run at ``output`` (default runs/CLASSES); ``wanted`` are fields of `workflows.comparison.request.Comparison`.

    Returns what the command prints as JSON; raises DogfastError. `workflows.comparison.settings.comparison_preset` gives what the
    command starts from.
    """
    return _verb("compare", partial(run_compare, request=Comparison(**wanted)), "Compare")(config, output, *sinks)


def refine(config: RunConfig, output: Path | str | None = None, *sinks: Sink, **wanted: Any) -> dict[str, Any]:
    """Paint and train in rounds in the run at ``output`` (default runs/CLASSES); ``wanted`` are fields of
    `workflows.refinement.request.Refinement`.

    Returns what the command prints as JSON; raises DogfastError.
    """
    return _verb("refine", partial(run_refine, request=Refinement(**wanted)), "Refine")(config, output, *sinks)


def export(config: RunConfig, output: Path | str | None = None, *sinks: Sink, **wanted: Any) -> dict[str, Any]:
    """Write a detector of the run at ``output`` (default runs/CLASSES); ``wanted`` are fields of `workflows.export.Request`.

    Returns what the command prints as JSON; raises DogfastError.
    """
    return _verb("export", partial(run_export, request=Request(**wanted)), "Export")(config, output, *sinks)


def build_engines(config: RunConfig, *sinks: Sink, **wanted: Any) -> dict[str, Any]:
    """Make the engines of ``config.model`` ahead of time, for ``config.data.classes``; ``wanted`` are the other fields of
    `workflows.build_engines.Request`.

    Returns what the command prints as JSON; raises DogfastError.
    """
    return engines.build_engines(config.model, engines.Request(config.data.classes, **wanted), Events(*sinks))
