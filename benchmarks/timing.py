"""How long calls take, each against the others and against the machine's own rate of matrix products."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Contender = Callable[[], object]


def interleaved(contenders: dict[str, Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call. Each contender runs once to warm up and once a round, so that all meet the machine's same moods."""
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            seconds[name].append(timed(call))
    return seconds


def timed(call: Contender) -> float:
    """Seconds of one call; on a GPU until its work is done."""
    finish = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    finish()
    started = time.perf_counter()
    call()
    finish()
    return time.perf_counter() - started


def products(sides: tuple[int, ...], dtype: torch.dtype, device: str) -> dict[str, tuple[Contender, float]]:
    """Matrix products of each side with their TFLOP, by name: the machine's GEMM rate is the best of them."""
    return {f"gemm {side} {dtype}": (_product(side, dtype, device), 2 * side**3 / 1e12) for side in sides}


def gemm_rate(seconds: dict[str, list[float]], gemms: dict[str, tuple[Contender, float]]) -> float:
    """TFLOP/s: the best median of ``gemms``."""
    return max(tflop / median(seconds[name]) for name, (_, tflop) in gemms.items())


def _product(side: int, dtype: torch.dtype, device: str) -> Contender:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b


def flops(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> int:
    """Floating-point operations of one call, attention's products included; a multiply and an add are two."""
    plain = torch.nn.attention.SDPBackend.MATH  # the counter sees through this one: it is made of plain products
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.nn.attention.sdpa_kernel(plain):
        module(*inputs)
    return counter.get_total_flops()


def summary(seconds: list[float], rows: int, tflop_a_row: float, gemm: float) -> dict[str, Any]:
    """Median, fastest and slowest seconds a row, and what rate the median is."""
    middle = median(seconds) / rows
    return {
        "seconds_a_row": middle,
        "fastest": min(seconds) / rows,
        "slowest": max(seconds) / rows,
        "tflops": tflop_a_row / middle,
        "share_of_gemm": tflop_a_row / middle / gemm,
    }
