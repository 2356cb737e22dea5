"""What this machine has. Every automatic choice is a value together with its reason."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Generic, TypeVar

from dogfast.errors import EnvironmentFault

T = TypeVar("T")

USE_CPU, YES = "ACCELERATE_USE_CPU", ("1", "true", "yes", "y", "t", "on")


@dataclass(frozen=True)
class Choice(Generic[T]):
    """An automatic decision and why it was taken."""

    value: T
    reason: str


def choose_device(wanted: str) -> Choice[str]:
    """The torch device of ``--device``; :class:`EnvironmentFault` when it is not there."""
    import torch

    if wanted == "auto":
        if keeps_to_cpus():
            return Choice("cpu", f"{USE_CPU} is set")
        if torch.cuda.is_available():
            return Choice("cuda", f"a GPU is present ({torch.cuda.get_device_name()})")
        return Choice("cpu", "no CUDA device is present")
    if wanted.startswith("cuda"):
        index = 0 if wanted == "cuda" else int(number) if (number := wanted.removeprefix("cuda:")).isdecimal() else -1
        if not torch.cuda.is_available() or not 0 <= index < torch.cuda.device_count():
            raise EnvironmentFault(f"--device {wanted}: {torch.cuda.device_count()} CUDA devices are present; use --device cpu")
    elif wanted != "cpu":
        raise EnvironmentFault(f"--device {wanted!r} is unknown; choose auto, cpu, cuda or cuda:N")
    return Choice(wanted, "asked for by --device")


def keeps_to_cpus() -> bool:
    """Whether a launch was told to leave GPUs alone."""
    return os.environ.get(USE_CPU, "").lower() in YES


def choose_precision(wanted: str, device: str) -> Choice[str]:
    """`fp32`, `bf16` or `fp16` for networks on ``device``."""
    if wanted != "auto":
        return Choice(wanted, "asked for")
    if device.startswith("cuda"):
        import torch

        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16", "the GPU multiplies bf16 in hardware")
        return Choice("fp16", "the GPU has no bf16 units")
    if processor_has_bf16():
        return Choice("bf16", "the processor multiplies bf16 in hardware")
    return Choice("fp32", "the processor has no bf16 instructions")


def choose_training_precision(wanted: str, device: str) -> Choice[str]:
    """`fp32`, `bf16` or `fp16` for a training on ``device``; :class:`EnvironmentFault` for fp16 on a CPU."""
    choice = choose_precision(wanted, device)
    if choice.value == "fp16" and device == "cpu":
        raise EnvironmentFault("--train-precision fp16 needs a GPU; choose bf16 or fp32")
    return choice


@lru_cache
def processor_flags() -> frozenset[str]:
    """Instruction-set flags Linux reports; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "flags:")
    return frozenset(flags.partition(":")[2].split())


def processor_has_bf16() -> bool:
    return bool(processor_flags() & {"avx512_bf16", "amx_bf16"})


def processor_count() -> int:
    """Cores this process may use: its share where several were started on this machine."""
    return max(1, machine_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def free_bytes(path: Path) -> int:
    """Bytes left on the disk that holds ``path``, or would hold it."""
    return shutil.disk_usage(path).free if path.exists() else free_bytes(path.absolute().parent)


def machine_cores() -> int:
    """Cores that the processes of this machine share."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware(precision: str) -> str:
    """What a figure was measured on, in words: processor, cores and ``precision``."""
    return f"{processor_name()}, {processor_count()} cores, {precision}"


def device_name(device: str) -> str:
    """The GPU, or the processor, that ``device`` is."""
    if not device.startswith("cuda"):
        return processor_name()
    import torch

    return torch.cuda.get_device_name(device)


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
