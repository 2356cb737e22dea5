"""How fast a GPU paints, in one command of at most 8 minutes: `python benchmarks/gpu.py [command|unet …] [--minutes 8]`.

Stable Diffusion v1.5 with random weights. ``command``: the stage behind `dogfast generate` at 512 px, recipes `paper` and
`quality`, against diffusers' fp16 pipeline of the paper's recipe at batch 1 and at its best batch, and what 100 classes of
1,000 outliers would take at that rate. ``unet``: 2 to 128 rows at 512, 384 and 256 px: diffusers' own module, torch.compile,
ONNX Runtime's CUDA provider, and TensorRT where it loads, each cell beside the bf16 GEMM rate of the same minute. What tells
most comes first; what the time does not reach says so. Set-up on a machine with nothing but a torch for CUDA:
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
from painting import Contender, Job, RandomModel, in_turn, painting, prompts, spread
from peers import Order, diffusers_pipeline, write_random_model
from timing import flops, gemm_rate, interleaved, products, summary

from dogfast.config.model import ModelConfig
from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.backends.torch import open_engine
from dogfast.engines.building import Platform, Workshop
from dogfast.engines.choice import ONNXRUNTIME, TENSORRT, TENSORRT_RTX, why_not
from dogfast.engines.examples import example_inputs
from dogfast.engines.opening import engine_cache, open_networks
from dogfast.engines.table import NETWORKS, Engine, Shape, axis_sizes, input_shapes
from dogfast.engines.wrappers import wrap
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, read_json, to_json, versions

RESULT = Path(__file__).parent / "results" / "gpu.json"
WORK = Path(__file__).parents[1] / "build" / "gpu"
ROUNDS = 7
GEMM_SIDES = (4096, 8192)
CELLS = ((32, 512), (64, 256), (8, 512), (128, 256), (32, 384), (2, 512), (128, 512), (128, 384), (8, 256), (2, 256), (2, 384))
"""(rows, side in pixels)."""
UNET = NETWORKS["unet"]
LATE = "not run: the minutes were over"
SIDE_PX, IMAGE_PX, ROWS, WHOLE_JOB = 512, 32, 32, 100 * 1000
"""Of the whole command: what is painted and stored, images together, and the job whose time is projected."""
BATCHES = (1, 8, 16, 32)
"""Of the peer."""


def main(parts: list[str], minutes: float) -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmarks/gpu.py: no CUDA device is present; nothing was measured")
    _end_after(60 * minutes)
    result = read_json(RESULT) if RESULT.exists() else {"command": {}, "cells": {}}
    result |= {"gpu": torch.cuda.get_device_name(), "host": hardware("bf16"), "cuda": torch.version.cuda, "rounds": ROUNDS}
    result |= {"minutes": minutes, "versions": versions()}
    for part in parts:
        PARTS[part](result)
        torch._dynamo.reset()
        torch.cuda.empty_cache()
        publish(RESULT, to_json(result))


def measure_unet(result: dict[str, Any]) -> None:
    pipeline, cells = RandomPipeline(), {f"{rows} rows, {side_px} px": LATE for rows, side_px in CELLS}
    result["cells"] = cells
    for name, (rows, side_px) in zip(cells, CELLS):
        publish(RESULT, to_json(result))
        cells[name] = measure(pipeline, rows, side_px)
        torch._dynamo.reset()  # it compiles a function for a few shapes only, then runs it as it is
        torch.cuda.empty_cache()


# --- the whole command ------------------------------------------------------------------------------------------
def measure_command(result: dict[str, Any]) -> None:
    """Seconds an image of the whole stage and of diffusers' pipeline, interleaved; the best batch is found first."""
    result["command"] = {name: LATE for name in ("dogfast `paper`", "dogfast `quality`", "diffusers fp16")}
    publish(RESULT, to_json(result))
    pipeline, folder = RandomModel(), WORK / "sd15-random"
    write_random_model(pipeline, folder)
    networks = open_networks(pipeline, ModelConfig(device="cuda"), Events(plain_lines(sys.stderr)))
    wanted = Job(SIDE_PX, IMAGE_PX, 8, 2 * ROWS, ROWS)
    peer = diffusers_pipeline(folder, Order(prompts(8), 50, 7.5, SIDE_PX), torch.float16, "cuda", solver="pndm")
    seconds = {batch: min(peer(batch, batch) for _ in range(2)) / batch for batch in BATCHES}
    best = min(seconds, key=seconds.get)
    contenders: dict[str, Contender] = {
        "dogfast `paper`": painting(pipeline, networks, wanted, {"recipe": "paper"}),
        "dogfast `quality`": painting(pipeline, networks, wanted, {"recipe": "quality"}),
        **{f"diffusers fp16, batch {batch}": lambda batch=batch: peer(batch, batch) / batch for batch in {1, best}},
    }
    found = {name: spread(seconds) for name, seconds in in_turn(contenders, ROUNDS).items()}
    result["command"] = {
        name: row | {"minutes_of_100_x_1000": row["seconds_an_image"] * WHOLE_JOB / 60} for name, row in found.items()
    }
    result |= {"backend": networks.backend, "precision": networks.precision, "command_rows": ROWS, "side_px": SIDE_PX}


# --- the UNet ---------------------------------------------------------------------------------------------------


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


PARTS = {"command": measure_command, "unet": measure_unet}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="PART")
    parser.add_argument("--minutes", type=float, default=8, help="end after so many")
    given = parser.parse_args()
    main(given.parts, given.minutes)
