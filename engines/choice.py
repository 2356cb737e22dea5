"""Which backend runs the networks, in which arithmetic, and why."""

from __future__ import annotations

from importlib.util import find_spec

from dogfast.config.model import BACKENDS
from dogfast.engines.backends.tensorrt import MODULES, TARGETS, load_module
from dogfast.engines.table import Network
from dogfast.environment import Choice, choose_precision, processor_has_bf16
from dogfast.errors import EnvironmentFault, UsageError

TORCH, OPENVINO, ONNXRUNTIME, ORT_TENSORRT, TENSORRT, TENSORRT_RTX = BACKENDS
CPU_PRECISIONS = {TORCH: ("fp32", "bf16", "fp16"), OPENVINO: ("fp32", "bf16"), ONNXRUNTIME: ("fp32",)}
GPU_PRECISIONS = {
    TORCH: ("fp32", "bf16", "fp16"),
    ONNXRUNTIME: ("fp16", "fp32"),
    ORT_TENSORRT: ("fp16",),
    TENSORRT: ("fp16",),
    TENSORRT_RTX: ("fp16",),
}
EXTRAS = {OPENVINO: "cpu", ONNXRUNTIME: "cpu", ORT_TENSORRT: "gpu", TENSORRT: "gpu", TENSORRT_RTX: "rtx"}


def choose_backend(wanted: str, device: str, target: str = "", precision: str = "auto") -> Choice[str]:
    """The backend of ``--backend`` for ``device``, or for GPUs of ``target`` that need not be here.

    `auto` is the fastest that is installed, loads, and computes in ``precision``. Raises :class:`EnvironmentFault` when the
    one asked for cannot be loaded, :class:`UsageError` when it does not run there.
    """
    if wanted == "auto" and not target:
        return _fastest(device, precision)
    chosen = Choice(wanted, "asked for by --backend") if wanted != "auto" else Choice(TENSORRT_RTX, "it builds for other GPUs")
    if target and chosen.value != TENSORRT_RTX:
        raise UsageError(
            f"--target {target}: only tensorrt-rtx builds for GPUs that are not here; use --backend {TENSORRT_RTX}"
        )
    runs = GPU_PRECISIONS if target or device.startswith("cuda") else CPU_PRECISIONS
    if chosen.value not in runs:
        elsewhere = f"--target {TARGETS[0]} (or {', '.join(TARGETS[1:])}), or " if wanted == TENSORRT_RTX else ""
        raise UsageError(f"--backend {wanted} does not run on {device}; use {elsewhere}--backend {' or '.join(runs)}")
    if fault := why_not(chosen.value):
        extra = "gpu" if device.startswith("cuda") and chosen.value == ONNXRUNTIME else EXTRAS[chosen.value]
        raise EnvironmentFault(f"--backend {chosen.value}: it {fault}; pip install 'dogfast[{extra}]', or use --backend torch")
    if chosen.value == TENSORRT_RTX and not target and present_target(device) not in TARGETS:
        raise UsageError(f"--backend {TENSORRT_RTX} does not run on {present_target(device)}, only on {', '.join(TARGETS)}")
    return chosen


def why_not(backend: str) -> str:
    """Why ``backend`` cannot be used here, "" where it can."""
    if backend == TORCH:
        return ""
    if find_spec(MODULES.get(backend, backend.removesuffix("-tensorrt"))) is None:
        return "is not installed"
    try:
        if backend in MODULES:
            load_module(backend)
    except EnvironmentFault as error:
        return f"does not load ({error})"
    return ""


def _fastest(device: str, precision: str) -> Choice[str]:
    """The first of `_by_speed` that can be used; the reason says what was passed over."""
    known = GPU_PRECISIONS if device.startswith("cuda") else CPU_PRECISIONS
    passed = []
    for backend, reason in _by_speed(device):
        fault = why_not(backend)
        if precision != "auto" and precision not in known[backend]:
            fault = f"does not compute in {precision}"
        if not fault:
            return Choice(backend, "; ".join([reason, *passed]))
        passed.append(f"{backend} {fault}")
    raise AssertionError("torch runs everywhere")


def _by_speed(device: str) -> list[tuple[str, str]]:
    """Backends for ``device`` with their merit, the fastest first; what is slower than torch is left out."""
    if device.startswith("cuda"):
        rtx = [(TENSORRT_RTX, "it compiles for this GPU")] if present_target(device) in TARGETS else []
        return [(TENSORRT, "it compiles for this GPU"), *rtx, (TORCH, "torch.compile")]
    slower = [] if processor_has_bf16() else [(ONNXRUNTIME, "faster than torch in fp32")]
    return [(OPENVINO, "the fastest on a CPU"), *slower, (TORCH, "it runs everywhere")]


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
    """The arithmetic of one network: what must be exact stays in fp32, and beside fp16 the VAE too, whose activations can
    overflow it. With TensorRT all are fp16; images that are not finite are painted again.
    """
    if backend in (TENSORRT, TENSORRT_RTX, ORT_TENSORRT):
        return precision
    if network.exact or (network.part == "vae" and precision == "fp16"):
        return "fp32"
    return precision
