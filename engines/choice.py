"""Which backend runs the networks, in which arithmetic, and why."""

from __future__ import annotations

from importlib.util import find_spec

from dogfast.engines.backends.tensorrt import MODULES, TARGETS
from dogfast.engines.table import Network
from dogfast.environment import Choice, choose_precision, processor_has_bf16
from dogfast.errors import EnvironmentFault, UsageError

TORCH, OPENVINO, ONNXRUNTIME, ORT_TENSORRT = "torch", "openvino", "onnxruntime", "onnxruntime-tensorrt"
TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt-rtx"
EXTRAS = {OPENVINO: "cpu", ONNXRUNTIME: "cpu", ORT_TENSORRT: "gpu", TENSORRT: "gpu", TENSORRT_RTX: "rtx"}
PACKAGES = {ORT_TENSORRT: "onnxruntime", **MODULES}
CPU_PRECISIONS = {TORCH: ("fp32", "bf16", "fp16"), OPENVINO: ("fp32", "bf16"), ONNXRUNTIME: ("fp32",)}
GPU_PRECISIONS = {
    TORCH: ("fp32", "bf16", "fp16"),
    ONNXRUNTIME: ("fp16", "fp32"),
    ORT_TENSORRT: ("fp16",),
    TENSORRT: ("fp16",),
    TENSORRT_RTX: ("fp16",),
}


def choose_backend(wanted: str, device: str, target: str = "") -> Choice[str]:
    """The backend of ``--backend`` for ``device``, or for GPUs of ``target`` that need not be here.

    Raises :class:`EnvironmentFault` when it is not installed, :class:`UsageError` when it does not run on the device.
    """
    if wanted == "auto" and not target:
        return _fastest(device)
    chosen = Choice(wanted, "asked for by --backend") if wanted != "auto" else Choice(TENSORRT_RTX, "it builds for other GPUs")
    if target and chosen.value != TENSORRT_RTX:
        raise UsageError(
            f"--target {target}: only tensorrt-rtx builds for GPUs that are not here; use --backend {TENSORRT_RTX}"
        )
    runs = GPU_PRECISIONS if target or device.startswith("cuda") else CPU_PRECISIONS
    if chosen.value not in runs:
        elsewhere = f"--target {TARGETS[0]} (or {', '.join(TARGETS[1:])}), or " if wanted == TENSORRT_RTX else ""
        raise UsageError(f"--backend {wanted} does not run on {device}; use {elsewhere}--backend {' or '.join(runs)}")
    if not is_installed(chosen.value):
        what = f"--backend {chosen.value} is not installed"
        raise EnvironmentFault(f"{what}; pip install 'dogfast[{EXTRAS[chosen.value]}]', or use --backend torch")
    return chosen


def is_installed(backend: str) -> bool:
    return backend == TORCH or find_spec(PACKAGES.get(backend, backend)) is not None


def _fastest(device: str) -> Choice[str]:
    if device.startswith("cuda"):
        if is_installed(TENSORRT):
            return Choice(TENSORRT, "TensorRT is installed")
        if is_installed(TENSORRT_RTX) and present_target(device) in TARGETS:
            return Choice(TENSORRT_RTX, f"TensorRT for RTX is installed and this GPU is {present_target(device)}")
        return Choice(TORCH, "no TensorRT for this GPU is installed; torch.compile")
    if is_installed(OPENVINO):
        return Choice(OPENVINO, "the fastest on a CPU")
    if not processor_has_bf16() and is_installed(ONNXRUNTIME):
        return Choice(ONNXRUNTIME, "OpenVINO is not installed, and in fp32 it is faster than torch")
    return Choice(TORCH, "OpenVINO, the fastest on a CPU, is not installed (pip install 'dogfast[cpu]')")


def present_target(device: str) -> str:
    """The GPU at ``device`` as a target: sm86 and the like."""
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return f"sm{major}{minor}"


def choose_arithmetic(wanted: str, backend: str, device: str, target: str = "") -> Choice[str]:
    """`fp32`, `bf16` or `fp16` for ``backend``; :class:`UsageError` for one it does not have there."""
    known = (GPU_PRECISIONS if target or device.startswith("cuda") else CPU_PRECISIONS)[backend]
    if wanted != "auto":
        if wanted not in known:
            raise UsageError(f"--precision {wanted}: {backend} has {', '.join(known)} there; choose one, or another --backend")
        return Choice(wanted, "asked for by --precision")
    usual = choose_precision("auto", device)
    return usual if usual.value in known and not target else Choice(known[0], f"what {backend} computes in")


def precision_of(network: Network, backend: str, precision: str) -> str:
    """The arithmetic of one network: the towers stay in fp32, and beside fp16 the VAE too, whose activations overflow it.

    With TensorRT all are fp16.
    """
    if backend in (TENSORRT, TENSORRT_RTX, ORT_TENSORRT):
        return precision
    if network.exact or (network.part == "vae" and precision == "fp16"):
        return "fp32"
    return precision
