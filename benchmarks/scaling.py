"""Does the command scale? `python benchmarks/scaling.py`: 1, 2, 4 and 8 processes, each with a fake device of its own.

Every call of a device takes a fixed time and no processor, so that what is lost between calls is the command's: planning,
dealing, encoding, writing. A device keeps the time of its first call and of its last; its rate is the images between them.
Efficiency is the mean rate at N over that at 1, under `accelerate launch` and on Ray. Writes benchmarks/results/scaling.json.
"""

import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from dogfast.environment import hardware
from dogfast.run import publish, to_json, versions

RESULT = Path(__file__).parent / "results" / "scaling.json"
PROCESSES, ROUNDS = (1, 2, 4, 8), 3
CALL_S, STEPS, ROWS, BATCHES, SHARDS_EACH = 0.1, 8, 64, 2, 7
"""A call's seconds; what a batch, a shard and a process's part consist of: about 13 seconds a process."""
MARKS = "DOGFAST_SCALING_MARKS"


def main() -> None:
    result = {"rounds": ROUNDS, "call_s": CALL_S, "rows": ROWS, "images_a_process": ROWS * BATCHES * SHARDS_EACH}
    rates: dict[str, dict[int, list[float]]] = {name: {count: [] for count in PROCESSES} for name in STARTERS}
    for _ in range(ROUNDS):
        for name, of_starter in rates.items():
            for count, found in of_starter.items():
                found.append(measure(name, count))
                print(f"{name}, {count} processes: {found[-1]:.1f} images/s a device", flush=True)
    ideal = ROWS / (CALL_S * (STEPS + 1))
    result["device_images_a_s"] = ideal
    result["starters"] = {name: summary(of_starter, ideal) for name, of_starter in rates.items()}
    publish(RESULT, to_json(result | {"hardware": hardware("no network"), "versions": versions()}))


def summary(rates: dict[int, list[float]], ideal: float) -> dict[str, dict[str, float]]:
    """Per number of processes the median, slowest and fastest efficiency against one, and the device's busy share."""
    one = median(rates[1])
    return {
        str(count): {
            "efficiency": median(found) / one,
            "slowest": min(found) / one,
            "fastest": max(found) / one,
            "busy": median(found) / ideal,
        }
        for count, found in rates.items()
    }


def measure(starter: str, count: int) -> float:
    """Mean images a second of ``count`` devices between their first call and their last."""
    with TemporaryDirectory() as place:
        marks = Path(place) / "marks"
        marks.mkdir()
        images = ROWS * BATCHES * SHARDS_EACH * count
        flags = f"--classes shapes --image-px 32 --model fake --device cpu --precision fp32 --m {images // 8} --solver ddim"
        flags += f" --steps {STEPS} --guidance-scale 1 --samples-per-shard {ROWS * BATCHES} --rows {ROWS} --output {place}/run"
        command = [*STARTERS[starter](count)[0], __file__, "generate", *flags.split(), *STARTERS[starter](count)[1], "--quiet"]
        environment = os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", MARKS: str(marks)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        devices = [list(map(json.loads, path.read_text().splitlines())) for path in marks.iterdir()]
    assert len(devices) == count, f"{len(devices)} devices painted, not {count}"
    assert sum(calls[-1]["images"] for calls in devices) == images
    return sum(calls[-1]["images"] / (calls[-1]["ended"] - calls[0]["began"]) for calls in devices) / count


STARTERS = {
    "accelerate": lambda count: (
        [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", f"--num_processes={count}", "--main_process_port=0"]
        if count > 1
        else [sys.executable],
        [],
    ),
    "ray": lambda count: ([sys.executable], ["--ray", "local", "--workers", str(count)]),
}


# --- one process ------------------------------------------------------------------------------------------------
def command() -> None:
    """`dogfast` with fake devices in the place of the networks."""
    import dogfast.synthesis.cluster as cluster
    import dogfast.workflows.chain as chain
    from dogfast.cli.main import main as dogfast

    script = os.path.abspath(__file__)

    class FakePainter(cluster.Painter):
        def __init__(self, *given):
            super().__init__(*given)
            runpy.run_path(script)["install"]()

    cluster.Painter = FakePainter
    chain.find_anchors = write_conditions
    install()
    dogfast()


def install() -> None:
    import dogfast.synthesis.job as job
    import dogfast.synthesis.worker as worker

    job.Pipeline = fake_pipeline()
    worker.open_networks = lambda pipeline, config, events: fake_networks()


def write_conditions(config, run, events) -> None:
    from dogfast.data.shapes import ID_WORDS
    from dogfast.run import write_jsonl

    write_jsonl(
        run.conditions,
        [
            {"cls": y, "class_name": name, "strategy": "dog", "anchor": "oval", "text": [[f"an oval {name}", 1.0]]}
            for y, name in enumerate(ID_WORDS)
        ],
    )


def fake_pipeline() -> type:
    import torch

    class Tokenizer:
        model_max_length = 4

        def __call__(self, prompts, **options):
            return {"input_ids": torch.zeros(len(prompts), 4, dtype=torch.int64)}

    class FakePipeline:
        revision, native_px, downscale, has_tiny_decoder, latent_channels = "r0", 32, 4, False, 4
        tokenizer = Tokenizer()
        alphas_cumprod = torch.linspace(0.99, 0.01, 1000, dtype=torch.float64)

        def __init__(self, config, model):
            self.name = self.place = model

    return FakePipeline


def fake_networks():
    """A device of fixed speed that keeps its times."""
    import torch

    from dogfast.engines.networks import Networks

    file = open(Path(os.environ[MARKS]) / f"{os.getpid()}.jsonl", "a", buffering=1)
    painted = [0]

    def busy(images: int = 0) -> None:
        began = time.monotonic()
        time.sleep(CALL_S)
        painted[0] += images
        file.write(json.dumps({"began": began, "ended": time.monotonic(), "images": painted[0]}) + "\n")

    def denoise(latents, timesteps, text):
        busy()
        return torch.zeros_like(latents)

    def decode(latents):
        busy(len(latents))
        return latents[:, :3].clamp(-1, 1).repeat_interleave(4, 2).repeat_interleave(4, 3)

    states = lambda ids: (torch.zeros(len(ids), 4, 8), torch.zeros(len(ids), 8))  # noqa: E731
    return Networks(states, None, None, denoise, None, None, decode, decode, "fake", "cpu", "fp32")


if __name__ == "__main__":
    command() if "generate" in sys.argv[1:2] else main()
