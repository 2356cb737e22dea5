"""How fast the networks run on each backend of a CPU: `python benchmarks/engines.py [NETWORK …]`.

Stable Diffusion v1.5's networks with random weights, 4 rows at 256 px (latents of 32 x 32), against diffusers' and
transformers' own modules in fp32 and in bf16 channels_last, interleaved with each other and with the matrix products that
give the GEMM rate. Writes benchmarks/results/engines.json.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import Contender, flops, gemm_rate, interleaved, products, summary

from dogfast.config.model import ModelConfig
from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.backends.torch import open_engine
from dogfast.engines.building import RUNTIME_VERSIONS, Platform, Workshop
from dogfast.engines.choice import ONNXRUNTIME, OPENVINO, why_not
from dogfast.engines.examples import example_inputs
from dogfast.engines.opening import engine_cache
from dogfast.engines.table import NETWORKS, Network, axis_sizes, input_shapes
from dogfast.engines.wrappers import wrap
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, read_json, to_json, versions

RESULT = Path(__file__).parent / "results" / "engines.json"
ROWS, SIDE_PX, ROUNDS = 4, 256, 9
GEMM_SIDES = (1024, 2048, 4096)
FP32, BF16 = "diffusers fp32", "diffusers bf16 channels_last"
ENGINES = (Platform(OPENVINO, "cpu", "bf16"), Platform(ONNXRUNTIME, "cpu", "fp32"))


def main(names: list[str]) -> None:
    pipeline, events = RandomPipeline(), Events(plain_lines(sys.stderr))
    found = read_json(RESULT)["networks"] if RESULT.exists() else {}
    for name in names:
        found[name] = measure(pipeline, NETWORKS[name], events)
        pipeline.release(NETWORKS[name].part)
        found[name] |= {"hardware": hardware("bf16"), "versions": _versions()}
        facts = {"rows": ROWS, "side_px": SIDE_PX, "rounds": ROUNDS}
        publish(RESULT, to_json({"networks": {name: found[name] for name in NETWORKS if name in found}} | facts))


def measure(pipeline: RandomPipeline, network: Network, events: Events) -> dict[str, Any]:
    """Seconds a row of every contender; all ratios are of medians within this run."""
    shapes = input_shapes(network, axis_sizes(pipeline, SIDE_PX), ROWS)
    inputs = example_inputs(pipeline, network, shapes)
    module = wrap(pipeline, network.name)
    contenders = {FP32: torch.inference_mode()(lambda: module(*inputs))}
    contenders[BF16] = _call(open_engine(pipeline, network, "cpu", "bf16", "sdpa"), inputs)
    parity = {}
    for platform in ENGINES:
        if not why_not(platform.backend):
            workshop = Workshop(pipeline, platform, engine_cache(ModelConfig()), events)
            entry = workshop.engine(network, shapes)
            name = f"{platform.backend} {entry.fields['precision']}"
            parity[name] = entry.facts["parity"]
            contenders[name] = _call(workshop.open(network, shapes), inputs)
    gemms = {dtype: products(GEMM_SIDES, dtype, "cpu") for dtype in (torch.bfloat16, torch.float32)}
    calls = {name: call for each in gemms.values() for name, (call, _) in each.items()}
    seconds = interleaved(contenders | calls, ROUNDS)
    tflop = flops(module, inputs) / ROWS / 1e12
    gemm, gemm_fp32 = (gemm_rate(seconds, each) for each in gemms.values())
    rows = {name: summary(seconds[name], ROWS, tflop, gemm) for name in contenders}
    for name, row in rows.items():
        row |= {f"faster_than_{base}": rows[base]["seconds_a_row"] / row["seconds_a_row"] for base in (FP32, BF16)}
        row |= {"parity": parity.get(name)}
    return {"tflop_a_row": tflop, "gemm_tflops": gemm, "gemm_fp32_tflops": gemm_fp32, "contenders": rows}


def _call(engine: Callable[..., object], inputs: tuple[torch.Tensor, ...]) -> Contender:
    return lambda: engine(*inputs)


def _versions() -> dict[str, str]:
    return versions() | {name: RUNTIME_VERSIONS[name]() for name in (OPENVINO, ONNXRUNTIME) if not why_not(name)}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("networks", nargs="*", default=list(NETWORKS), metavar="NETWORK")
    main(parser.parse_args().networks)
