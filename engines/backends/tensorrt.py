"""TensorRT and TensorRT for RTX: one implementation on two modules that share their Python interface.

A plan is built from an fp16 graph, strongly typed (precision is the graph's, no flag can change it) and static in every
shape. It runs on torch's memory and stream, as one CUDA graph where the engine allows.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from dogfast.engines.export import GRAPH_FILE
from dogfast.engines.table import Engine, Network, Shape
from dogfast.errors import EnvironmentFault, fault_of_device

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120")
"""GPUs that TensorRT for RTX builds for without having them."""
PLAN_FILE = "model.plan"
PRODUCTS = ("CONVOLUTION", "MATRIX_MULTIPLY", "DECONVOLUTION")


def load_module(backend: str) -> ModuleType:
    """The module of ``backend``; :class:`EnvironmentFault` where it does not load."""
    try:
        return importlib.import_module(MODULES[backend])
    except (ImportError, OSError) as error:
        raise EnvironmentFault(f"{MODULES[backend]}: {error}") from error


def runtime_version(backend: str) -> str:
    return load_module(backend).__version__


# --- building ---------------------------------------------------------------------------------------------------
def build_plan(
    backend: str, graph: Path, network: Network, shapes: tuple[Shape, ...], target: str, plan: Path, timings: bytes = b""
) -> bytes:
    """Write the plan of the graph in the folder ``graph`` for GPUs of ``target`` ("" = the one present) to ``plan``.

    ``timings``: what earlier builds on this GPU measured; returns it with what this one added, or nothing where the module
    keeps none. Raises :class:`EnvironmentFault` with TensorRT's own words when it refuses, or when what would be built is not fp16.
    """
    trt = load_module(backend)
    logger = _logger(trt)
    builder = trt.Builder(logger)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    definition = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse_from_file(str(graph / GRAPH_FILE)):
        raise EnvironmentFault(f"{backend} cannot read {network.name} ({parser.get_error(0).desc()})")
    for place, shape in enumerate(shapes):
        definition.get_input(place).shape = shape
    for fault in _not_half(trt, definition, network):
        raise EnvironmentFault(f"{backend}: {network.name} would not be fp16: {fault}")
    settings = _settings(trt, builder, target, timings)
    built = builder.build_serialized_network(definition, settings)
    if built is None:
        raise EnvironmentFault(f"{backend} cannot build {network.name} for {target or 'this GPU'} ({logger.last})")
    plan.write_bytes(built)
    kept = None if target else settings.get_timing_cache()
    return bytes(kept.serialize()) if kept else b""


def _settings(trt: ModuleType, builder: Any, target: str, timings: bytes) -> Any:
    settings = builder.create_builder_config()
    if target:
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(getattr(trt.ComputeCapability, target.upper()), 0)
    else:
        known = settings.create_timing_cache(timings) or settings.create_timing_cache(b"")
        settings.set_timing_cache(known, ignore_mismatch=False)
    return settings


def _not_half(trt: ModuleType, definition: Any, network: Network) -> Iterator[str]:
    """What in the typed network is not in half precision though it should be: ports and matrix products."""
    wanted = _dtypes(trt)
    ends = [definition.get_input(i) for i in range(definition.num_inputs)]
    ends += [definition.get_output(i) for i in range(definition.num_outputs)]
    for port, tensor in zip((*network.inputs, *network.outputs), ends, strict=True):
        if (tensor.name, tensor.dtype) != (port.name, wanted[port.dtype("fp16")]):
            yield f"{port.name} is {tensor.name} of {tensor.dtype}"
    kinds = tuple(getattr(trt.LayerType, name) for name in PRODUCTS)
    layers = map(definition.get_layer, range(definition.num_layers))
    products = [layer for layer in layers if layer.type in kinds]
    other = [layer.name for layer in products if layer.get_output(0).dtype != trt.float16]
    if other or not products:
        yield f"{len(other)} of {len(products)} matrix products, the first is {(other or ['none'])[0]}"


def _logger(trt: ModuleType) -> Any:
    class Logger(trt.ILogger):
        """Keeps the last error; TensorRT's notes to its own users stay off our screen."""

        def __init__(self) -> None:
            super().__init__()
            self.last = "it gave no reason"

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.last = message.strip()

    return Logger()


# --- running ----------------------------------------------------------------------------------------------------
def open_engine(backend: str, plan: Path, network: Network, shapes: tuple[Shape, ...], device: str) -> Engine:
    """The engine of a plan that `cache.Cache` has checked. Raises :class:`EnvironmentFault` when it does not load here."""
    trt = load_module(backend)
    logger = _logger(trt)
    with torch.cuda.device(device):
        runtime = trt.Runtime(logger)
        loaded = runtime.deserialize_cuda_engine(plan.read_bytes())
        context = loaded.create_execution_context() if loaded else None
        if context is None:
            raise fault_of_device(f"{backend} cannot load {plan}", logger.last)
        for fault in _other_ports(trt, loaded, network, shapes):
            raise EnvironmentFault(f"{backend}: {plan} is no engine of {network.name}: {fault}")
        return _Bound(context, loaded, runtime, logger, network, shapes, device)


def _other_ports(trt: ModuleType, loaded: Any, network: Network, shapes: tuple[Shape, ...]) -> Iterator[str]:
    """What of the engine's inputs and outputs is not as the network's: name, mode, element type, shape."""
    dtypes = _dtypes(trt)
    names = [loaded.get_tensor_name(place) for place in range(loaded.num_io_tensors)]
    wanted = [port.name for port in (*network.inputs, *network.outputs)]
    if sorted(names) != sorted(wanted):
        yield f"it has {', '.join(names)}, not {', '.join(wanted)}"
        return
    for port in (*network.inputs, *network.outputs):
        mode = trt.TensorIOMode.INPUT if port in network.inputs else trt.TensorIOMode.OUTPUT
        if (loaded.get_tensor_mode(port.name), loaded.get_tensor_dtype(port.name)) != (mode, dtypes[port.dtype("fp16")]):
            yield f"{port.name} is {loaded.get_tensor_mode(port.name)} of {loaded.get_tensor_dtype(port.name)}"
    for port, shape in zip(network.inputs, shapes):
        if tuple(loaded.get_tensor_shape(port.name)) != shape:
            yield f"{port.name} has shape {tuple(loaded.get_tensor_shape(port.name))}, not {shape}"


def _dtypes(trt: ModuleType) -> dict[torch.dtype, Any]:
    return {torch.float16: trt.float16, torch.float32: trt.float32, torch.int64: trt.int64}


class _Bound:
    """Own buffers, bound once; the launch is recorded as a CUDA graph when it is opened, and replayed at every call.

    A recorded graph reads and writes fixed addresses: inputs are copied to them and outputs from them, on the device. An engine
    that allocates while it runs cannot be recorded (TensorRT for RTX tells); it is launched at every call.
    """

    def __init__(
        self, context: Any, loaded: Any, runtime: Any, logger: Any, network: Network, shapes: tuple[Shape, ...], device: str
    ):
        self._context, self._device, self._logger, self._owners = context, device, logger, (loaded, runtime)
        self._stream = torch.cuda.Stream(device)
        self._inputs = [
            torch.zeros(shape, dtype=port.dtype("fp16"), device=device) for port, shape in zip(network.inputs, shapes)
        ]
        self._outputs = [
            torch.empty(tuple(loaded.get_tensor_shape(port.name)), dtype=port.dtype("fp16"), device=device)
            for port in network.outputs
        ]
        for port, tensor in zip((*network.inputs, *network.outputs), (*self._inputs, *self._outputs)):
            context.set_tensor_address(port.name, tensor.data_ptr())
        self._graph = self._recorded()

    def __call__(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.cuda.device(self._device):
            for own, given in zip(self._inputs, inputs, strict=True):
                own.copy_(given, non_blocking=True)
            if self._graph is not None:
                self._graph.replay()
            else:
                with self._beside_current():
                    self._launch()
            return tuple(tensor.clone() for tensor in self._outputs)

    def _recorded(self) -> torch.cuda.CUDAGraph | None:
        """The launch, warmed up: the first launches allocate, which a graph may not. None where the engine cannot be recorded."""
        with self._beside_current():
            for _ in range(2):
                self._launch()
        torch.cuda.synchronize(self._device)
        capturable = getattr(self._context, "is_stream_capturable", lambda stream: True)
        if not capturable(self._stream.cuda_stream):
            return None
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._launch()
        return graph

    @contextmanager
    def _beside_current(self) -> Iterator[None]:
        """What is launched on the engine's own stream comes after all that torch was asked for before, and before what follows."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def _launch(self) -> None:
        if not self._context.execute_async_v3(self._stream.cuda_stream):
            raise fault_of_device("TensorRT could not launch its engine", self._logger.last)
