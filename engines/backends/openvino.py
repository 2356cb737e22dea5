"""OpenVINO: fp32 graphs on a CPU, in bf16 by a hint where the processor has it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch

from dogfast.engines.backends.host import host_arrays
from dogfast.engines.export import GRAPH_FILE
from dogfast.engines.table import Engine, Network, Shape
from dogfast.environment import processor_count
from dogfast.errors import EnvironmentFault

HINTS = {"fp32": "f32", "bf16": "bf16"}


def runtime_version() -> str:
    return version("openvino")


def open_engine(graph: Path, network: Network, shapes: tuple[Shape, ...], precision: str) -> Engine:
    """Compile the graph in the folder ``graph`` for ``shapes``; one request, all cores."""
    import openvino

    model = openvino.Core().read_model(graph / GRAPH_FILE)
    model.reshape({port.name: list(shape) for port, shape in zip(network.inputs, shapes)})
    settings = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": processor_count(),
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    hint = compiled.get_property("INFERENCE_PRECISION_HINT")
    if hint != getattr(openvino.Type, HINTS[precision]):
        raise EnvironmentFault(f"--backend openvino: {network.name} was compiled for {hint}, not for {precision}")
    request, outputs = compiled.create_infer_request(), [compiled.output(port.name) for port in network.outputs]

    def engine(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = request.infer(host_arrays(network, inputs), share_inputs=True)
        return tuple(torch.from_numpy(found[output]) for output in outputs)

    return engine
