"""OpenVINO: fp32 graphs on a CPU, in bf16 by a hint where the processor has it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch

from dogfast.engines.export import GRAPH_FILE
from dogfast.engines.table import Engine, Network, Shape
from dogfast.environment import processor_count

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
    request, outputs = compiled.create_infer_request(), [compiled.output(port.name) for port in network.outputs]

    def engine(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arrays = [_plain(tensor, port.dtype("fp32")) for tensor, port in zip(inputs, network.inputs, strict=True)]
        found = request.infer(dict(zip(range(len(arrays)), arrays)), share_inputs=True)
        return tuple(torch.from_numpy(found[output]) for output in outputs)

    return engine


def _plain(tensor: torch.Tensor, dtype: torch.dtype):
    return tensor.detach().to("cpu", dtype).contiguous().numpy()
