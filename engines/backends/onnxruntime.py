"""ONNX Runtime: fp32 graphs on a CPU, fp16 graphs on a GPU by its CUDA provider, or by its TensorRT provider where that loads."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from dogfast.engines.backends.host import host_arrays
from dogfast.engines.export import GRAPH_FILE
from dogfast.engines.table import Engine, Network, Shape, sizes_of
from dogfast.environment import processor_count
from dogfast.errors import EnvironmentFault

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
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

    Raises :class:`EnvironmentFault` when the session runs on another provider than the one of ``backend`` and ``device``.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = processor_count()
    options.log_severity_level = 3
    sizes = sizes_of(network, shapes)
    for axis, size in sizes.items():
        options.add_free_dimension_override_by_name(axis, size)
    providers = _providers(backend, device)
    # Its own fallback prints on stdout and goes on elsewhere.
    session = onnxruntime.InferenceSession(str(graph / GRAPH_FILE), options, providers=providers, enable_fallback=0)
    if session.get_providers()[0] != providers[0][0]:
        raise EnvironmentFault(f"--backend {backend}: {providers[0][0]} does not load here; install its libraries")
    if device == "cpu":
        return _on_cpu(session, network)
    return _on_gpu(session, network, _outputs(session, sizes), precision, device)


def _providers(backend: str, device: str) -> list[tuple[str, dict[str, object]]]:
    """The provider wanted, then those that run what it does not know.

    TensorRT's compiles anew in every process: plans that it would keep are not hashed by us, so it keeps none.
    """
    if device == "cpu":
        return [(CPU, {})]
    place = {"device_id": _index(device)}
    compiling = [(TENSORRT, place | {"trt_fp16_enable": True})] if backend == "onnxruntime-tensorrt" else []
    return [*compiling, (CUDA, place), (CPU, {})]


def _index(device: str) -> int:
    """The number of the GPU that ``device`` means: of several processes each has its own, by torch's current device."""
    index = torch.device(device).index
    return torch.cuda.current_device() if index is None else index


def _outputs(session, sizes: dict[str, int]) -> list[Shape]:
    """Shapes of the outputs; axes that stay open in the graph bear their names there."""
    return [tuple(sizes.get(axis, axis) for axis in output.shape) for output in session.get_outputs()]


def _on_cpu(session, network: Network) -> Engine:
    def engine(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = session.run([port.name for port in network.outputs], host_arrays(network, inputs))
        return tuple(map(torch.from_numpy, found))

    return engine


def _on_gpu(session, network: Network, outputs: list[Shape], precision: str, device: str) -> Engine:
    """Torch's memory is bound as it is; nothing passes through the host."""
    import numpy

    index = _index(device)
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
