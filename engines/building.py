"""From a network to a checked engine in the cache: graph, plan, parity; what stands and is trusted is not made again."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dogfast.diffusion.load import Pipeline
from dogfast.engines.backends import onnxruntime, openvino, tensorrt
from dogfast.engines.cache import Cache, Entry, Fields, Untrusted, key_of
from dogfast.engines.choice import (
    ONNXRUNTIME,
    OPENVINO,
    ORT_TENSORRT,
    TENSORRT,
    TENSORRT_RTX,
    precision_of,
    present_target,
    why_not,
)
from dogfast.engines.export import OPSET, export_graph
from dogfast.engines.parity import MAX_RELATIVE, NOT_RUN, OK, Parity, measure_parity
from dogfast.engines.table import GRAPH_OPEN, Engine, Network, Shape, sizes_of
from dogfast.environment import processor_name
from dogfast.errors import DogfastError, EnvironmentFault, OutOfMemory, is_out_of_memory
from dogfast.events import Events
from dogfast.text import first_line

FORMAT = 2
"""Raised when a wrapper, an input, the way a graph is made, or the way a backend opens it changes."""
EXPORTERS = ("torch", "diffusers", "transformers", "onnx", "onnx-ir", "onnxscript")
"""Packages that decide what a graph holds."""
PLANNED = (TENSORRT, TENSORRT_RTX)
"""Backends that compile a graph into a file of their own; the others read the graph."""
RUNTIME_VERSIONS: dict[str, Callable[[], str]] = {
    OPENVINO: openvino.runtime_version,
    ONNXRUNTIME: onnxruntime.runtime_version,
    ORT_TENSORRT: onnxruntime.runtime_version,
    TENSORRT: partial(tensorrt.runtime_version, TENSORRT),
    TENSORRT_RTX: partial(tensorrt.runtime_version, TENSORRT_RTX),
}


@dataclass(frozen=True)
class Platform:
    """Where engines run. ``target``: GPUs that need not be here; "" = the machine itself."""

    backend: str
    device: str
    precision: str
    target: str = ""


@dataclass(frozen=True)
class Workshop:
    """Makes the engines of one pipeline for one platform. ``may_build``: else what is missing is an error."""

    pipeline: Pipeline
    platform: Platform
    cache: Cache
    events: Events
    may_build: bool = True
    command: str = "dogfast build-engines"
    """What makes the engines that are missing, in words of the command line."""
    _graphs: dict[str, Entry] = field(default_factory=dict, compare=False)
    """Graphs this process has checked, by key: gigabytes are hashed once."""
    _open: dict[tuple[str, tuple[Shape, ...]], Engine] = field(default_factory=dict, compare=False)

    def open(self, network: Network, shapes: tuple[Shape, ...]) -> Engine:
        """The engine of ``network`` at ``shapes``, made where none stands. Raises :class:`EnvironmentFault` if it computes
        something else than the network, or cannot be had."""
        entry = self.engine(network, shapes)
        if not self._is_judged(entry, network, shapes):
            self._judge(entry, network, shapes)
        engine = self._opened(entry.folder, network, shapes)
        self.pipeline.release(network.part)
        return engine

    def engine(self, network: Network, shapes: tuple[Shape, ...]) -> Entry:
        """The entry of ``network`` at ``shapes``, found or made."""
        shape = "x".join(map(str, shapes[0]))
        what = f"engine of {network.name} at {shape} for {self.platform.backend} {self.platform.target}".rstrip()

        def make(folder: Path) -> dict[str, Any]:
            started = time.monotonic()
            graph = self._graph(network, shapes)
            if self.platform.backend in PLANNED:
                self._plan(graph.folder, network, shapes, folder)
            facts = {"graph": graph.files, "build_s": round(time.monotonic() - started, 1)}
            return facts | {"parity": asdict(self._parity(folder, network, shapes))}

        return self._found_or_made(self._engine_fields(network, shapes), what, make)

    def close(self) -> None:
        """Let go of the engines that are open, and of the memory they hold."""
        self._open.clear()

    def stands(self, network: Network, shapes: tuple[Shape, ...]) -> bool:
        """Whether the engine is in the cache and trusted."""
        try:
            return self.cache.find(self._engine_fields(network, shapes)) is not None
        except Untrusted:
            return False

    def files_of(self, network: Network, shapes: tuple[Shape, ...], entry: Entry) -> tuple[Path, dict[str, Any]]:
        """Folder and files of what runs: the plan, or the graph where the backend reads that."""
        ran = entry if self.platform.backend in PLANNED else self._graph(network, shapes)
        return ran.folder, ran.files

    # -- making --
    def _plan(self, graph: Path, network: Network, shapes: tuple[Shape, ...], folder: Path) -> None:
        backend = self.platform.backend
        target = self._target if backend == TENSORRT_RTX else ""
        measured = {} if target else {"backend_version": RUNTIME_VERSIONS[backend](), "target": _machine(self.platform.device)}
        known = self.cache.timings(measured) if measured else b""
        with torch.cuda.device(self.platform.device) if not target else nullcontext():
            added = tensorrt.build_plan(backend, graph, network, shapes, target, folder / tensorrt.PLAN_FILE, known)
        self.cache.keep_timings(measured, added)

    def _graph(self, network: Network, shapes: tuple[Shape, ...]) -> Entry:
        sizes = sizes_of(network, shapes)
        fields = self._graph_fields(network, sizes)

        def make(folder: Path) -> dict[str, Any]:
            started = time.monotonic()
            export_graph(self.pipeline, network, sizes, fields["precision"], folder)
            return {"build_s": round(time.monotonic() - started, 1)}

        key = key_of(fields)
        if key not in self._graphs:
            self._graphs[key] = self._found_or_made(fields, f"graph of {network.name} in {fields['precision']}", make)
        return self._graphs[key]

    def _found_or_made(self, fields: Fields, what: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        try:
            found = self.cache.find(fields)
        except Untrusted as error:
            found = None
            self.events.say(f"warning: {what}: the one in {self.cache.root / key_of(fields)} is not used: {error}")
        if found:
            return found
        if not self.may_build:
            raise EnvironmentFault(f"--no-build: there is no {what}; run `{self.command}`, or leave out --no-build")
        self.events.say(f"making the {what} …")
        return self.cache.build(fields, make, lambda: self.events.say(f"another process makes the {what}; waiting for it"))

    def _parity(self, folder: Path, network: Network, shapes: tuple[Shape, ...]) -> Parity:
        """What the engine in ``folder`` says to torch's outputs; "not run" when it is for a GPU that is not here."""
        if not self._is_here:
            return Parity(NOT_RUN)
        parity = measure_parity(self.pipeline, network, shapes, self._opened(folder, network, shapes))
        if parity.verdict != OK:
            raise EnvironmentFault(
                f"{network.name}: {self.platform.backend} computes something else than torch (cosine {parity.cosine:.5f}, "
                f"relative distance {parity.relative:.5f}; allowed are {network.min_cosine} and {MAX_RELATIVE}); it is refused: "
                "use --backend torch"
            )
        return parity

    def _is_judged(self, entry: Entry, network: Network, shapes: tuple[Shape, ...]) -> bool:
        """Whether the entry's parity was measured, and on the graph that is run."""
        if entry.facts["parity"]["verdict"] == NOT_RUN:
            return False
        return self.platform.backend in PLANNED or entry.facts["graph"] == self._graph(network, shapes).files

    def _judge(self, entry: Entry, network: Network, shapes: tuple[Shape, ...]) -> None:
        """An engine that was built where it could not run, or from a graph since made anew, before its first use."""
        facts = entry.facts | {"parity": asdict(self._parity(entry.folder, network, shapes))}
        if self.platform.backend not in PLANNED:
            facts["graph"] = self._graph(network, shapes).files
        try:
            self.cache.restate(entry, facts)
        except EnvironmentFault as error:
            self.events.say(f"warning: the parity of {network.name} is ok, and will be measured again next time: {error}")

    def _opened(self, folder: Path, network: Network, shapes: tuple[Shape, ...]) -> Engine:
        """The engine in ``folder``, opened once. Raises :class:`EnvironmentFault` in the runtime's words."""
        if (network.name, shapes) not in self._open:
            try:
                self._open[network.name, shapes] = self._loaded(folder, network, shapes)
            except DogfastError:
                raise
            except Exception as error:  # what runtimes raise has no common base
                kind = OutOfMemory if is_out_of_memory(error) else EnvironmentFault
                raise kind(f"{self.platform.backend} cannot open {network.name} ({first_line(error)})") from error
        return self._open[network.name, shapes]

    def _loaded(self, folder: Path, network: Network, shapes: tuple[Shape, ...]) -> Engine:
        backend, device = self.platform.backend, self.platform.device
        precision = precision_of(network, backend, self.platform.precision)
        if backend in PLANNED:
            return tensorrt.open_engine(backend, folder / tensorrt.PLAN_FILE, network, shapes, device)
        graph = self._graph(network, shapes).folder
        if backend == OPENVINO:
            return openvino.open_engine(graph, network, shapes, precision)
        return onnxruntime.open_engine(backend, graph, network, shapes, precision, device)

    # -- what an entry depends on --
    def _graph_fields(self, network: Network, sizes: dict[str, int]) -> Fields:
        precision = precision_of(network, self.platform.backend, self.platform.precision)
        return {
            "kind": "graph",
            "format": FORMAT,
            "network": network.name,
            "weights": self.pipeline.weights(network.part),
            "sizes": {axis: size for axis, size in sorted(sizes.items()) if axis not in GRAPH_OPEN},
            "precision": "fp16" if precision == "fp16" else "fp32",
            "opset": OPSET,
            "versions": _exporters(),
        }

    def _engine_fields(self, network: Network, shapes: tuple[Shape, ...]) -> Fields:
        backend = self.platform.backend
        return {
            "kind": "engine",
            "format": FORMAT,
            "network": network.name,
            "graph": self._graph_fields(network, sizes_of(network, shapes)),
            "shapes": {port.name: list(shape) for port, shape in zip(network.inputs, shapes)},
            "precision": precision_of(network, backend, self.platform.precision),
            "backend": backend,
            "backend_version": RUNTIME_VERSIONS[backend](),
            "target": self._target if backend == TENSORRT_RTX else _machine(self.platform.device),
        }

    @property
    def _target(self) -> str:
        return self.platform.target or present_target(self.platform.device)

    @property
    def _is_here(self) -> bool:
        platform = self.platform
        return not platform.target or (
            platform.device.startswith("cuda") and present_target(platform.device) == platform.target
        )


def runtime_versions(backend: str) -> dict[str, str]:
    """The version of what runs the engines of ``backend``; torch's is told with those of all runs."""
    return {backend: RUNTIME_VERSIONS[backend]()} if backend in RUNTIME_VERSIONS else {}


def is_current(fields: Fields) -> bool:
    """Whether an entry of ``fields`` can still be opened by the packages of today."""
    if fields.get("format") != FORMAT:
        return False
    if fields["kind"] == "graph":
        return (fields["opset"], fields["versions"]) == (OPSET, _exporters())
    if not is_current(fields["graph"]):
        return False
    return bool(why_not(fields["backend"])) or fields["backend_version"] == RUNTIME_VERSIONS[fields["backend"]]()


def _exporters() -> dict[str, str]:
    return {package: version(package) for package in EXPORTERS}


def _machine(device: str) -> dict[str, Any]:
    """The processor or GPU at ``device``, as far as engines and their parity depend on it."""
    if not device.startswith("cuda"):
        return {"processor": processor_name()}
    found = torch.cuda.get_device_properties(device)
    return {
        "gpu": found.name,
        "capability": f"{found.major}.{found.minor}",
        "multiprocessors": found.multi_processor_count,
        "memory": found.total_memory,
        "cuda": torch.version.cuda,
    }
