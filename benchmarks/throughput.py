"""How fast outliers are painted on a CPU: `python benchmarks/throughput.py [tiny|sd15 …] [--optimum PYTHON]`.

The stage behind `dogfast generate` (conditions to committed shards) against the networks' own time for the same calls,
against diffusers' `StableDiffusionPipeline` at batch 1 and at its best batch, and against optimum-intel's OpenVINO pipeline
where PYTHON is an interpreter that has it. Same weights, prompts, solver (20 steps of DPM-Solver++ 2M), guidance (every step)
and decoder, as in the recipe `quality`; image files included. Contenders take turns, and opening networks is not counted. What
a stage takes is what the whole takes less what it takes without. Writes benchmarks/results/throughput.json.
"""

import sys
import time
from argparse import ArgumentParser
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from painting import Contender, Job, RandomModel, in_turn, painting, prompts, spread
from peers import Order, Paint, diffusers_pipeline, optimum_pipeline, write_random_model
from timing import gemm_rate, products, timed

import dogfast.synthesis.worker as worker
from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import ASSETS, Pipeline
from dogfast.engines.networks import Networks
from dogfast.engines.opening import open_networks
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, read_json, to_json, versions

RESULT = Path(__file__).parent / "results" / "throughput.json"
WORK = Path(__file__).parents[1] / "build" / "throughput"
GEMM_SIDES = (1024, 2048, 4096)
STEPS, GUIDANCE = 20, 4.0
SAME = {"solver": "dpm++2m", "steps": STEPS, "guidance_scale": GUIDANCE, "guidance_start": 0.0, "guidance_stop": 1.0}
SAME |= {"decoder": "vae"}
HALF_GUIDED = SAME | {"guidance_stop": 0.5}
OURS, DIFFUSERS, OPTIMUM, ALONE = "dogfast", "diffusers", "optimum-intel", "the networks alone"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class World:
    """What is painted of a generator, and how often."""

    job: Job
    precisions: tuple[str, ...]
    batches: tuple[int, ...]
    """Of diffusers: the first, and the one of the others that it is fastest at."""
    optimum_batches: tuple[int, ...]
    rounds: int
    diffusers_rounds: int
    alone_steps: int
    """Steps that the networks alone take in the place of all."""
    published: bool
    """Whether diffusers also paints by the recipe `paper`."""
    stages: tuple[str, ...]
    """Precisions in which stages are left out in turn."""


WORLDS = {
    "tiny": World(Job(32, 32, 8, 128, 64), ("fp32", "bf16"), (1, 16, 64), (1, 16, 64), 7, 7, 8, True, ("bf16",)),
    "sd15": World(Job(256, 256, 4, 4, 4), ("bf16",), (1, 4), (4,), 7, 1, 2, False, ()),
}


def main(names: list[str], optimum: str) -> None:
    found = read_json(RESULT)["worlds"] if RESULT.exists() else {}
    for name in names:
        found[name] = measure(name, WORLDS[name], optimum)
        publish(RESULT, to_json({"steps": STEPS, "worlds": {name: found[name] for name in WORLDS if name in found}}))


def measure(name: str, world: World, optimum: str) -> dict[str, Any]:
    """Seconds an image of every contender, interleaved, and the GEMM rate of the same minutes."""
    folder, pipeline = model_of(name)
    contenders = {}
    for precision in world.precisions:
        contenders |= ours(pipeline, precision, world)
    peers = {}
    order = Order(prompts(world.job.classes), STEPS, GUIDANCE, world.job.side_px)
    for precision in world.precisions:
        peers |= at_batches(f"{DIFFUSERS} {precision}", diffusers_pipeline(folder, order, DTYPES[precision]), world.batches)
        if world.published:
            peers |= as_published(precision, folder, order, world)
        if optimum:
            peer = optimum_pipeline(optimum, folder, WORK / f"{name}-openvino", order, precision)
            contenders |= at_batches(f"{OPTIMUM} {precision}", peer, world.optimum_batches)
    gemms = products(GEMM_SIDES, torch.bfloat16, "cpu")
    calls = {name: lambda call=call: timed(call) for name, (call, _) in gemms.items()}
    seconds = in_turn(contenders | peers | calls, world.rounds, dict.fromkeys(peers, world.diffusers_rounds))
    return {
        "order": [*contenders, *peers],
        "contenders": {name: spread(seconds[name]) for name in (*contenders, *peers)},
        "optimum": "measured" if optimum else "not run: no --optimum",
        "gemm_tflops": gemm_rate(seconds, gemms),
        "side_px": world.job.side_px,
        "image_px": world.job.image_px,
        "rows": world.job.rows,
        "hardware": hardware("bf16"),
        "versions": versions(),
    }


def model_of(name: str) -> tuple[Path, Pipeline]:
    """A generator as a diffusers folder, for the peers, and as we load it: the same weights."""
    if name == "tiny":
        return ASSETS / "tiny", Pipeline(ModelConfig(), "tiny")
    pipeline, folder = RandomModel(), WORK / "sd15-random"
    write_random_model(pipeline, folder)
    return folder, pipeline


# --- ours -------------------------------------------------------------------------------------------------------
def ours(pipeline: Pipeline, precision: str, world: World) -> dict[str, Contender]:
    """Our painting in one precision: the same recipe, also guided on its first half alone, without each stage, and the networks alone."""
    networks = open_networks(pipeline, ModelConfig(precision=precision, device="cpu"), Events(plain_lines(sys.stderr)))
    name = f"{OURS} {networks.backend} {precision}"
    found = {name: painting(pipeline, networks, world.job, SAME)}
    found[f"{name}, guided on the first half"] = painting(pipeline, networks, world.job, HALF_GUIDED)
    found[f"{name}, {ALONE}"] = alone(networks, pipeline, world)
    if precision in world.stages:
        found |= {f"{name}, without {stage}": call for stage, call in without(networks, pipeline, world.job).items()}
    return found


def without(networks: Networks, pipeline: Pipeline, wanted: Job) -> dict[str, Contender]:
    """The same painting with one stage left out."""
    scale = pipeline.downscale

    def no_denoise(latents: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(latents)

    def no_decode(latents: torch.Tensor) -> torch.Tensor:
        return latents[:, :3].clamp(-1, 1).repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    whole = painting(pipeline, networks, wanted, SAME)

    def no_writing() -> float:
        kept, worker.commit_shard = (
            worker.commit_shard,
            lambda *given: dict.fromkeys(("shard", "samples", "failed", "seconds"), 0),
        )
        try:
            return whole()
        finally:
            worker.commit_shard = kept

    return {
        "the UNet": painting(pipeline, replace(networks, denoise=no_denoise), wanted, SAME),
        "the decoder": painting(pipeline, replace(networks, decode=no_decode), wanted, SAME),
        "tar and records": no_writing,
    }


def alone(networks: Networks, pipeline: Pipeline, world: World) -> Contender:
    """Nothing but the calls of one batch, on inputs that are there."""
    side, rows = world.job.side_px // pipeline.downscale, world.job.rows
    latents = torch.randn(2 * rows, pipeline.latent_channels, side, side)
    timesteps, states = torch.full((2 * rows,), 500.0), torch.randn(2 * rows, pipeline.tokens, pipeline.width)

    def call() -> float:
        began = time.perf_counter()
        for _ in range(world.alone_steps):
            networks.denoise(latents, timesteps, states)
        denoised = time.perf_counter()
        networks.decode(latents[:rows])
        decoding = time.perf_counter() - denoised
        return ((denoised - began) * STEPS / world.alone_steps + decoding) / rows

    return call


# --- the peers --------------------------------------------------------------------------------------------------
def at_batches(name: str, peer: Paint, batches: tuple[int, ...]) -> dict[str, Contender]:
    """The peer at its first batch and, of the others, at its best one."""
    first, *others = batches
    chosen = {first: 0.0}
    if others:
        seconds = (
            {batch: min(peer(batch, batch) for _ in range(2)) / batch for batch in others} if others[1:] else {others[0]: 0.0}
        )
        chosen[min(seconds, key=seconds.get)] = 0.0
    return {f"{name}, batch {batch}": lambda batch=batch: peer(batch, batch) / batch for batch in chosen}


def as_published(precision: str, folder: Path, order: Order, world: World) -> dict[str, Contender]:
    """diffusers' pipeline with Stable Diffusion's own recipe, at the largest batch."""
    batch, order = max(world.batches), replace(order, steps=50, guidance_scale=7.5)
    peer = diffusers_pipeline(folder, order, DTYPES[precision], solver="pndm")
    return {f"{DIFFUSERS} {precision}, recipe `paper`, batch {batch}": lambda: peer(batch, batch) / batch}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("worlds", nargs="*", default=list(WORLDS), metavar="WORLD")
    parser.add_argument("--optimum", default="", metavar="PYTHON", help="an interpreter that has optimum-intel")
    given = parser.parse_args()
    main(given.worlds, given.optimum)
