"""Tensors between host and device, so that neither waits for the other before it must."""

from __future__ import annotations

from collections.abc import Callable

import torch

Arriving = Callable[[], tuple[torch.Tensor, ...]]
"""Waits for tensors that are on their way to the host, and gives them."""


def upload(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """``tensor`` on ``device``, behind all that the device still has to do and without waiting for it.

    From memory that is not pinned, CUDA would wait for its stream first.
    """
    pinned = tensor.pin_memory() if torch.device(device).type == "cuda" and not tensor.is_cuda else tensor
    return pinned.to(device, non_blocking=True)


def download(*tensors: torch.Tensor) -> Arriving:
    """Start to copy ``tensors`` of one device to the host. On a CPU they are there already and are handed on as they are."""
    if not tensors[0].is_cuda:
        return lambda: tensors
    copies = [torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True) for tensor in tensors]
    arrived = torch.cuda.Event(blocking=True)
    arrived.record(torch.cuda.current_stream(tensors[0].device))

    def wait() -> tuple[torch.Tensor, ...]:
        arrived.synchronize()
        return tuple(copy.clone() for copy in copies)  # pinned memory is short: it goes back at once

    return wait
