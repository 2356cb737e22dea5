"""ONNX Runtime: fp32 graphs on a CPU, fp16 graphs on a GPU by its CUDA provider, or by its TensorRT provider where that loads."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from dogfast.engines.export import GRAPH_FILE
from dogfast.engines.table import Engine, Network, Shape
from dogfast.environment import processor_count
from dogfast.errors import EnvironmentFault

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
PROVIDERS = {"onnxruntime": CUDA, "onnxruntime-tensorrt": TENSORRT}
"""On a GPU."""
PACKAGES = ("onnxruntime", "onnxruntime-gpu")


def runtime_version() -> str:
    """Package and version: the two packages hold different providers."""
    for name in PACKAGES:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    raise EnvironmentFault("--backend onnxruntime: it is not installed; pip install 'dogfast[cpu]' or 'dogfast[gpu]'")


def open_engine(backend: str, graph: Path, network: Network, shapes: tuple[Shape, ...], precision: str, device: str) -> Engine:
    """A session over the graph in the folder ``graph``, its open axes fixed to ``shapes``.

    Raises :class:`EnvironmentFault` when the session runs on another provider than the one of ``backend`` and ``device``:
    ONNX Runtime falls back without a word.
    """
    import onnxruntime

    provider = PROVIDERS[backend] if device.startswith("cuda") else CPU
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processor_count()
    options.log_severity_level = 3
    sizes = {axis: size for port, shape in zip(network.inputs, shapes) for axis, size in zip(port.axes, shape)}
    for axis, size in sizes.items():
        options.add_free_dimension_override_by_name(axis, size)
    session = onnxruntime.InferenceSession(str(graph / GRAPH_FILE), options, providers=[*dict.fromkeys((provider, CPU))])
    if session.get_providers()[0] != provider:
        raise EnvironmentFault(
            f"--backend {backend}: {provider} does not load here; install its libraries or use --backend torch"
        )
    return (
        _on_cpu(session, network) if provider == CPU else _on_gpu(session, network, _outputs(session, sizes), precision, device)
    )


def _outputs(session, sizes: dict[str, int]) -> list[Shape]:
    """Shapes of the outputs; axes that stay open in the graph bear their names there."""
    return [tuple(sizes.get(axis, axis) for axis in output.shape) for output in session.get_outputs()]


def _on_cpu(session, network: Network) -> Engine:
    def engine(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        arrays = {
            port.name: tensor.detach().to("cpu", port.dtype("fp32")).contiguous().numpy()
            for port, tensor in zip(network.inputs, inputs, strict=True)
        }
        return tuple(map(torch.from_numpy, session.run([port.name for port in network.outputs], arrays)))

    return engine


def _on_gpu(session, network: Network, outputs: list[Shape], precision: str, device: str) -> Engine:
    """Torch's memory is bound as it is; nothing passes through the host."""
    import numpy

    index = torch.device(device).index or 0
    elements = {torch.float32: numpy.float32, torch.float16: numpy.float16, torch.int64: numpy.int64}

    def engine(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        binding = session.io_binding()
        ready = [t.to(device, p.dtype(precision)).contiguous() for t, p in zip(inputs, network.inputs, strict=True)]
        found = [torch.empty(s, dtype=p.dtype(precision), device=device) for p, s in zip(network.outputs, outputs)]
        for bind, ports, tensors in (
            (binding.bind_input, network.inputs, ready),
            (binding.bind_output, network.outputs, found),
        ):
            for port, tensor in zip(ports, tensors):
                bind(port.name, "cuda", index, elements[tensor.dtype], tuple(tensor.shape), tensor.data_ptr())
        torch.cuda.current_stream(device).synchronize()
        session.run_with_iobinding(binding)
        return tuple(found)

    return engine
