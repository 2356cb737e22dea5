"""How fast the UNet runs on a GPU, in one command of at most 8 minutes: `python benchmarks/gpu.py [--minutes 8]`.

Stable Diffusion v1.5's UNet with random weights, 2 to 128 rows at 512, 384 and 256 px: diffusers' own module, torch.compile,
ONNX Runtime's CUDA provider, and TensorRT where it loads, each cell beside the bf16 GEMM rate of the same minute. The cells
that tell most come first; what the time does not reach says so. Set-up on a machine with nothing but a torch for CUDA:
`pip install -r benchmarks/gpu-requirements.txt && pip install --no-deps -e .`. Writes benchmarks/results/gpu.json.
"""

import os
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from timing import flops, gemm_rate, interleaved, products, summary

from dogfast.config.model import ModelConfig
from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.backends.torch import open_engine
from dogfast.engines.building import Platform, Workshop
from dogfast.engines.choice import ONNXRUNTIME, TENSORRT, TENSORRT_RTX, why_not
from dogfast.engines.examples import example_inputs
from dogfast.engines.opening import engine_cache
from dogfast.engines.table import NETWORKS, Engine, Shape, axis_sizes, input_shapes
from dogfast.engines.wrappers import wrap
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, to_json, versions

RESULT = Path(__file__).parent / "results" / "gpu.json"
ROUNDS = 7
GEMM_SIDES = (4096, 8192)
CELLS = ((32, 512), (64, 256), (8, 512), (128, 256), (32, 384), (2, 512), (128, 512), (128, 384), (8, 256), (2, 256), (2, 384))
"""(rows, side in pixels)."""
UNET = NETWORKS["unet"]
LATE = "not run: the minutes were over"


def main(minutes: float) -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: no CUDA device is present; nothing was measured")
    _end_after(60 * minutes)
    facts = {"gpu": torch.cuda.get_device_name(), "host": hardware("bf16"), "cuda": torch.version.cuda, "rounds": ROUNDS}
    pipeline, cells = RandomPipeline(), {f"{rows} rows, {side_px} px": LATE for rows, side_px in CELLS}
    for name, (rows, side_px) in zip(cells, CELLS):
        publish(RESULT, to_json({"cells": cells, "minutes": minutes, "versions": versions()} | facts))
        cells[name] = measure(pipeline, rows, side_px)
        torch._dynamo.reset()  # it compiles a function for a few shapes only, then runs it as it is
        torch.cuda.empty_cache()
    publish(RESULT, to_json({"cells": cells, "minutes": minutes, "versions": versions()} | facts))


def _end_after(seconds: float) -> None:
    """End this process then, wherever it is: what it measured is published, the rest says that it was not run."""
    timer = threading.Timer(seconds, os._exit, [0])
    timer.daemon = True
    timer.start()


def measure(pipeline: RandomPipeline, rows: int, side_px: int) -> dict[str, Any] | str:
    """One cell: every contender that loads, interleaved; the others say why not."""
    sizes = axis_sizes(pipeline, side_px)
    shapes = input_shapes(UNET, sizes, rows)
    inputs = tuple(tensor.cuda() for tensor in example_inputs(pipeline, UNET, shapes))
    contenders, silent = {}, {}
    for name, opened in contenders_of(pipeline, shapes):
        try:
            engine = opened()
            engine(*inputs)
            contenders[name] = lambda engine=engine: engine(*inputs)
        except Exception as error:  # whatever a runtime raises where it does not load is its row's result
            silent[name] = f"not run: {(str(error).splitlines() or [type(error).__name__])[0]}"
    gemms = products(GEMM_SIDES, torch.bfloat16, "cuda")
    try:
        seconds = interleaved(contenders | {name: call for name, (call, _) in gemms.items()}, ROUNDS)
    except torch.OutOfMemoryError:
        return "not run: the contenders together do not fit this GPU's memory"
    one_row = example_inputs(pipeline, UNET, input_shapes(UNET, sizes, 1))
    tflop, gemm = flops(wrap(pipeline, UNET.name), one_row) / 1e12, gemm_rate(seconds, gemms)
    found = {name: summary(seconds[name], rows, tflop, gemm) for name in contenders}
    return {"tflop_a_row": tflop, "gemm_tflops": gemm, "contenders": found | silent}


def contenders_of(pipeline: RandomPipeline, shapes: tuple[Shape, ...]) -> Iterator[tuple[str, Callable[[], Engine]]]:
    """Every way to run the UNet by name, opened when asked."""
    yield "diffusers fp16", lambda: _eager(pipeline, torch.float16, torch.contiguous_format)
    yield "diffusers bf16 channels_last", lambda: _eager(pipeline, torch.bfloat16, torch.channels_last)
    yield "torch.compile bf16 channels_last", lambda: open_engine(pipeline, UNET, "cuda", "bf16", "sdpa")
    for backend in (ONNXRUNTIME, TENSORRT, TENSORRT_RTX):
        yield f"{backend} fp16", lambda backend=backend: _built(pipeline, backend, shapes)


def _eager(pipeline: RandomPipeline, dtype: torch.dtype, memory_format: torch.memory_format) -> Engine:
    module = deepcopy(wrap(pipeline, UNET.name)).to("cuda", dtype, memory_format=memory_format)
    return torch.inference_mode()(lambda latents, timesteps, states: module(latents.to(dtype), timesteps, states.to(dtype)))


def _built(pipeline: RandomPipeline, backend: str, shapes: tuple[Shape, ...]) -> Engine:
    if fault := why_not(backend):
        raise RuntimeError(f"{backend} {fault}")
    cache, events = engine_cache(ModelConfig()), Events(plain_lines(sys.stderr))
    return Workshop(pipeline, Platform(backend, "cuda", "fp16"), cache, events).open(UNET, shapes)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=8, help="end after so many")
    main(parser.parse_args().minutes)
