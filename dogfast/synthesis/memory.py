"""When a device has no memory left, and what to do: paint fewer images together."""

from __future__ import annotations

import gc

import torch

from dogfast.errors import OutOfMemory


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
