"""Engines made ahead of time: all that `generate` will open, for this machine or for GPUs that are not here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dogfast.config.model import ModelConfig
from dogfast.config.option import one_of, require
from dogfast.diffusion.load import TINY_DECODER, Pipeline, choose_model
from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.backends.tensorrt import TARGETS
from dogfast.engines.building import Workshop, is_current
from dogfast.engines.cache import Entry
from dogfast.engines.choice import TORCH
from dogfast.engines.opening import choose_platform, engine_cache, workshop_of
from dogfast.engines.table import NETWORKS, Network, Shape, engine_shapes, networks_used
from dogfast.errors import EnvironmentFault, UsageError
from dogfast.events import Events
from dogfast.synthesis.job import require_outer_layers, side_in_latents
from dogfast.synthesis.worker import choose_rows

NOTHING_TO_BUILD = "the torch backend runs the networks as they are; there is nothing to build"


@dataclass(frozen=True)
class Request:
    """What to build, for the generator of ``classes``: ``targets`` are GPUs that are not here, by architecture, none means this machine;
    ``rows`` 0 and ``resolution`` 0 mean as `generate` chooses; no ``networks`` means all that it opens with its ``deepcache``;
    ``random_weights``: of the model's sizes, without its files."""

    classes: str = "shapes"
    targets: tuple[str, ...] = ()
    rows: int = 0
    resolution: int = 0
    networks: tuple[str, ...] = ()
    random_weights: bool = False
    deepcache: int = 1

    def __post_init__(self) -> None:
        for target in self.targets:
            one_of(target, TARGETS, "--target")
        require(self.deepcache >= 1, f"--deepcache {self.deepcache} must be at least 1")
        for name in self.networks:
            one_of(name, networks_used(self.deepcache), "--network")
        require(self.rows >= 0, f"--rows {self.rows} must not be negative")
        require(self.resolution >= 0, f"--resolution {self.resolution} must not be negative")


def build_engines(config: ModelConfig, request: Request, events: Events) -> dict[str, Any]:
    """Every engine of ``request``, found or made: one object each, under "engines"."""
    made = []
    for workshop in _workshops(config, request, events):
        for network, shapes in _wanted(workshop, request):
            made.append(_told(workshop, network, shapes, workshop.engine(network, shapes)))
            workshop.close()
            workshop.pipeline.release(network.part)
    return {"engines": made}


def plan_engines(config: ModelConfig, request: Request, events: Events) -> dict[str, Any]:
    """What `build_engines` would make, and what stands already; writes nothing."""
    wanted = [
        {"network": network.name, "shapes": [list(shape) for shape in shapes], "target": workshop.platform.target,
         "backend": workshop.platform.backend, "stands": workshop.stands(network, shapes)}
        for workshop in _workshops(config, request, events)
        for network, shapes in _wanted(workshop, request)
    ]  # fmt: skip
    return {"dry_run": True, "engines": wanted}


def prune_engines(config: ModelConfig) -> dict[str, Any]:
    """Remove what this installation can open no more: other versions, broken entries, leftovers of killed builds."""
    cache = engine_cache(config)
    removed, freed = cache.prune(is_current)
    return {"removed": removed, "bytes_freed": freed, "engine_dir": str(cache.root)}


def _workshops(config: ModelConfig, request: Request, events: Events) -> Iterator[Workshop]:
    """One a target; none where the backend has nothing to build."""
    pipeline = _pipeline(config, request, events)
    for target in request.targets or ("",):
        platform = choose_platform(config, events, target)
        if platform.backend == TORCH:
            events.say(NOTHING_TO_BUILD)
        else:
            yield workshop_of(pipeline, platform, config, events)


def _pipeline(config: ModelConfig, request: Request, events: Events) -> Pipeline:
    if request.random_weights:
        if config.model not in ("auto", "sd15"):
            raise UsageError(f"--random-weights has the sizes of sd15, not of --model {config.model}; use --model sd15")
        events.say("generator sd15 with random weights: for speed and export work, it paints nothing")
        return RandomPipeline()
    model = choose_model(config.model, request.classes)
    events.say(f"generator {model.value}: {model.reason}")
    return Pipeline(config, model.value)


def _wanted(workshop: Workshop, request: Request) -> Iterator[tuple[Network, tuple[Shape, ...]]]:
    pipeline, platform = workshop.pipeline, workshop.platform
    side = side_in_latents(request.resolution or None, pipeline)
    rows = choose_rows(request.rows, "cuda" if platform.target else platform.device, side * side).value
    require_outer_layers(request.deepcache, pipeline)
    for network in (NETWORKS[name] for name in networks_used(request.deepcache)):
        if request.networks and network.name not in request.networks:
            continue
        if network.part == TINY_DECODER and (fault := _lacks_tiny_decoder(pipeline)):
            workshop.events.say(f"{network.name} is left out: {fault}")
            continue
        for shapes in engine_shapes(pipeline, network, side * pipeline.downscale, rows):
            yield network, shapes


def _lacks_tiny_decoder(pipeline: Pipeline) -> str:
    """Why the small decoder cannot be had, "" where it can: the other networks do without it."""
    try:
        getattr(pipeline, TINY_DECODER)
    except EnvironmentFault as error:
        return str(error)
    return ""


def _told(workshop: Workshop, network: Network, shapes: tuple[Shape, ...], entry: Entry) -> dict[str, Any]:
    """One engine in the words of the command's answer; a graph that is run as it is stands for its engine."""
    folder, files = workshop.files_of(network, shapes, entry)
    name, described = max(files.items(), key=lambda item: item[1]["bytes"])
    return {
        "network": network.name,
        "backend": workshop.platform.backend,
        "precision": entry.fields["precision"],
        "rows": shapes[0][0],
        "shapes": entry.fields["shapes"],
        "target": workshop.platform.target,
        "path": str(folder / name),
        "sha256": described["sha256"],
        "bytes": described["bytes"],
        "build_s": entry.facts["build_s"],
        "parity": entry.facts["parity"],
    }
