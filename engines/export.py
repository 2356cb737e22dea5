"""A network as an ONNX graph: one file of structure, one of weights, the element type of its arithmetic written into it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import onnx
import torch

from dogfast.diffusion.load import Pipeline
from dogfast.engines.examples import example_inputs
from dogfast.engines.table import DTYPES, GRAPH_OPEN, Network, Port
from dogfast.engines.wrappers import wrap
from dogfast.errors import EnvironmentFault
from dogfast.text import first_line

OPSET = 20
"""GELU is one operator from 20 on (18 is the least that the exporter writes); 23 is too new for some runtimes."""
GRAPH_FILE, WEIGHTS_FILE = "model.onnx", "model.onnx.data"
EXPORT_ROWS = 2
"""One row would be taken for a constant."""
STANDARD_DOMAINS = ("", "ai.onnx")
PRODUCTS = ("MatMul", "Gemm", "Conv")
ELEMENTS = {
    torch.float32: onnx.TensorProto.FLOAT,
    torch.float16: onnx.TensorProto.FLOAT16,
    torch.int64: onnx.TensorProto.INT64,
    torch.bool: onnx.TensorProto.BOOL,
}


def export_graph(pipeline: Pipeline, network: Network, sizes: dict[str, int], precision: str, folder: Path) -> None:
    """Write ``network`` in ``precision`` (fp32 or fp16) with the axes ``sizes`` into ``folder`` and check it.

    Rows and tokens stay open. Raises :class:`EnvironmentFault` when the exporter or the check refuses, OSError when the
    disk does.
    """
    shapes = tuple(tuple(EXPORT_ROWS if axis == "rows" else sizes[axis] for axis in port.axes) for port in network.inputs)
    module = _in_precision(wrap(pipeline, network.name), precision)
    write_graph(module, network, _cast(example_inputs(pipeline, network, shapes), network, precision), folder)
    check_graph(folder, network, precision)


def write_graph(
    module: torch.nn.Module,
    network: Network,
    inputs: tuple[torch.Tensor, ...],
    folder: Path,
    facts: dict[str, str] | None = None,
    external: bool = True,
) -> None:
    """Write ``module``, traced on ``inputs`` of `EXPORT_ROWS` rows, as the graph of ``network``; ``facts`` stand in its metadata.

    Its weights lie in a file beside it where ``external``. Raises :class:`EnvironmentFault` when the exporter refuses, OSError
    when the disk does.
    """
    try:
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # its advice is for its own users
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=[port.name for port in network.inputs],
                output_names=[port.name for port in network.outputs],
                dynamic_shapes=tuple(map(_open_axes, network.inputs)),
                custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
                verbose=False,
            )
        program.model.metadata_props.update(facts or {})
        program.save(str(folder / GRAPH_FILE), external_data=external)
    except OSError:
        raise
    except Exception as error:  # the exporter's errors have no common base
        raise EnvironmentFault(f"{network.name}: torch.onnx.export refused it ({first_line(error)})") from error


def _stable_sort(values, stable: bool = True, dim: int = -1, descending: bool = False):
    """What the exporter does not know: of equal values TopK, too, gives the lower index first."""
    from onnxscript import opset20 as op

    count = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
    return op.TopK(values, count, axis=dim, largest=int(descending))


def _in_precision(module: torch.nn.Module, precision: str) -> torch.nn.Module:
    """The pipeline's own weights stay as they are."""
    return module if precision == "fp32" else deepcopy(module).to(DTYPES[precision])


def _cast(inputs: tuple[torch.Tensor, ...], network: Network, precision: str) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.to(port.dtype(precision)) for tensor, port in zip(inputs, network.inputs))


def _open_axes(port: Port) -> dict[int, torch.export.Dim]:
    return {place: torch.export.Dim(axis) for place, axis in enumerate(port.axes) if axis in GRAPH_OPEN}


# --- what was written -------------------------------------------------------------------------------------------
def check_graph(folder: Path, network: Network, precision: str) -> None:
    """Raise :class:`EnvironmentFault` unless ``folder`` holds a valid graph of ``network``, all of it in ``precision``."""
    graph = check_form(folder, network, precision)
    for fault in _wrong_arithmetic(graph.graph, precision):
        raise EnvironmentFault(f"{folder / GRAPH_FILE}: {fault}")


def check_form(folder: Path, network: Network, precision: str) -> onnx.ModelProto:
    """The graph in ``folder`` without its weights; raises :class:`EnvironmentFault` unless it is valid and has the ports of ``network``."""
    path = folder / GRAPH_FILE
    try:
        onnx.checker.check_model(str(path))
        graph = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # onnx and protobuf raise what they like
        raise EnvironmentFault(f"{path} is no valid ONNX graph ({first_line(error)})") from error
    for fault in (*_foreign_parts(graph), *_wrong_ports(graph.graph, network, precision)):
        raise EnvironmentFault(f"{path}: {fault}")
    return graph


def _foreign_parts(model: onnx.ModelProto) -> Iterator[str]:
    """Operators no runtime is bound to know, and weights outside the one file beside the graph."""
    domains = sorted({node.domain for node in model.graph.node} - set(STANDARD_DOMAINS))
    if domains or model.functions:
        yield f"it holds operators of {', '.join(domains) or 'its own functions'}; only ONNX's own are allowed"
    places = {entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"}
    if places - {WEIGHTS_FILE}:
        yield f"it reads weights from {', '.join(sorted(places - {WEIGHTS_FILE}))}; only {WEIGHTS_FILE} is allowed"


def _wrong_ports(graph: onnx.GraphProto, network: Network, precision: str) -> Iterator[str]:
    for ports, values, what in ((network.inputs, graph.input, "inputs"), (network.outputs, graph.output, "outputs")):
        wanted = [(port.name, ELEMENTS[port.dtype(precision)]) for port in ports]
        found = [(value.name, value.type.tensor_type.elem_type) for value in values]
        if found != wanted:
            yield f"its {what} are {found}, not {wanted} (name, ONNX element type)"
    for port, value in zip(network.inputs, graph.input):
        fixed = [
            axis for axis, size in zip(port.axes, value.type.tensor_type.shape.dim) if axis in GRAPH_OPEN and not size.dim_param
        ]
        if fixed:
            yield f"{port.name} is fixed in {', '.join(fixed)}, which must stay open"


def _wrong_arithmetic(graph: onnx.GraphProto, precision: str) -> Iterator[str]:
    """Products computed, or weights kept, in another type than ``precision``."""
    wanted = ELEMENTS[DTYPES[precision]]
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type in PRODUCTS]
    wrong = [node.name for node in products if any(types.get(name) != wanted for name in node.input if name)]
    if wrong or not products:
        yield f"{len(wrong)} of {len(products)} matrix products are not in {precision}, the first is {(wrong or ['none'])[0]}"
