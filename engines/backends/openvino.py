"""OpenVINO: fp32 graphs on a CPU, in bf16 by a hint where the processor has it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dogfast.engines.backends.host import host_arrays
from dogfast.engines.export import GRAPH_FILE
from dogfast.engines.table import FLOAT32, Engine, Network, Shape
from dogfast.environment import processor_count
from dogfast.errors import EnvironmentFault

if TYPE_CHECKING:
    from openvino import CompiledModel, Model, Node, Output

HINTS = {"fp32": "f32", "bf16": "bf16"}
PRODUCT = "MatMul"


def runtime_version() -> str:
    return version("openvino")


def open_engine(graph: Path, network: Network, shapes: tuple[Shape, ...], precision: str) -> Engine:
    """Compile the graph in the folder ``graph`` for ``shapes``; one request, all cores."""
    import openvino

    model = openvino.Core().read_model(graph / GRAPH_FILE)
    model.reshape({port.name: list(shape) for port, shape in zip(network.inputs, shapes)})
    fronts = {
        port.name: _compiled(_cut_front(model, port.name), network, "fp32")
        for port in network.inputs
        if port.kind == FLOAT32 and precision != "fp32"
    }
    compiled = _compiled(model, network, precision)
    request, outputs = compiled.create_infer_request(), [compiled.output(port.name) for port in network.outputs]

    def engine(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arrays = host_arrays(network, inputs)
        arrays |= {name: front(arrays[name])[0] for name, front in fronts.items()}
        found = request.infer(arrays, share_inputs=True)
        return tuple(torch.from_numpy(found[output]) for output in outputs)

    return engine


def _cut_front(model: Model, name: str) -> Model:
    """What the input ``name`` passes through before its first matrix product, cut off ``model`` as a model of its own.

    The hint would compute it in bf16, where a timestep of 999 has become 1000 and its sinusoids are others. What ``model``
    reads under ``name`` is from now on the front's output.
    """
    import openvino

    old = next(each for each in model.get_parameters() if name in each.output(0).get_names())
    end = _before_product(old)
    new = openvino.opset13.parameter(end.get_shape(), end.get_element_type())
    for reader in end.get_target_inputs():
        reader.replace_source_output(new.output(0))
    model.remove_parameter(old)
    front = openvino.Model([end], [old])
    new.output(0).set_names({name})
    model.add_parameters([new])
    return front


def _before_product(start: Node) -> Output:
    """The one output downstream of the node ``start`` that a matrix product reads."""
    ends, nodes = {}, [start]
    while nodes:
        for output in nodes.pop().outputs():
            for reader in output.get_target_inputs():
                if reader.get_node().get_type_name() == PRODUCT:
                    ends[output.get_node().get_name()] = output
                else:
                    nodes.append(reader.get_node())
    (end,) = ends.values()
    return end


def _compiled(model: Model, network: Network, precision: str) -> CompiledModel:
    import openvino

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
    return compiled
