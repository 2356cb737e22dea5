"""When a device has no memory left, and what to do: paint fewer images together."""

from __future__ import annotations

import gc
import re

import torch

from dogfast.errors import OutOfMemory

SIGNS = re.compile(r"out of memory|failed to allocate|bad_alloc|ALLOC_FAILED|OutOfMemory", re.IGNORECASE)
"""How CUDA, cuBLAS, cuDNN, ONNX Runtime, TensorRT and OpenVINO say so; they share no exception."""


def is_out_of_memory(error: BaseException) -> bool:
    said_so = isinstance(error, RuntimeError) and SIGNS.search(str(error)) is not None
    return said_so or isinstance(error, MemoryError | OutOfMemory)


def fewer(rows: int, error: BaseException) -> int:
    """The next lower rung of the ladder; :class:`OutOfMemory` at its end."""
    if rows == 1:
        raise OutOfMemory(
            "the device has no memory left for a single image; choose a smaller --resolution, another --device, or free its memory"
        ) from error
    return rows // 2


def free_memory() -> None:
    """Give back what a failed batch left in torch's cache."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
