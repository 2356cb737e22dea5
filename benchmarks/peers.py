"""Those that dogfast's painting is measured against: diffusers' pipeline here, optimum-intel's in an environment of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dogfast.diffusion.load import ASSETS
from dogfast.diffusion.random_weights import RandomPipeline

Paint = Callable[[int, int], float]
"""(images, batch) to the seconds they took, from prompts to PNG files."""

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
COMPONENTS = {
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "safety_checker": [None, None],
}


@dataclass(frozen=True)
class Order:
    """What every contender paints: the same prompts by the same recipe, every step guided."""

    prompts: tuple[str, ...]
    steps: int
    guidance_scale: float
    side_px: int

    def of(self, images: int) -> list[str]:
        return [self.prompts[place % len(self.prompts)] for place in range(images)]


def diffusers_pipeline(folder: Path, order: Order, dtype: torch.dtype, device: str = "cpu", solver: str = "dpm++2m") -> Paint:
    """`StableDiffusionPipeline`, its PNG files included; in half precision in channels_last, where that is faster."""
    from diffusers import DPMSolverMultistepScheduler, PNDMScheduler, StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, safety_checker=None).to(device)
    scheduler = {"dpm++2m": DPMSolverMultistepScheduler, "pndm": PNDMScheduler}[solver]
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    if dtype != torch.float32:
        for network in (pipe.unet, pipe.vae):
            network.to(memory_format=torch.channels_last)

    def paint(images: int, batch: int) -> float:
        prompts = order.of(images)
        options = {"num_inference_steps": order.steps, "guidance_scale": order.guidance_scale}
        with TemporaryDirectory() as place:
            began = time.perf_counter()
            for start in range(0, images, batch):
                found = pipe(prompts[start : start + batch], height=order.side_px, width=order.side_px, **options).images
                for number, image in enumerate(found, start):
                    image.save(Path(place) / f"{number}.png")
            return time.perf_counter() - began

    return paint


def optimum_pipeline(python: str, folder: Path, exported: Path, order: Order, precision: str) -> Paint:
    """The same by `benchmarks/peer_optimum.py` in the environment of ``python``, which lives as long as this process."""
    script = str(Path(__file__).parent / "peer_optimum.py")
    command = [python, script, str(folder), str(exported), precision]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def paint(images: int, batch: int) -> float:
        wanted = {"prompts": order.of(images), "batch": batch, "steps": order.steps, "side_px": order.side_px}
        peer.stdin.write(json.dumps(wanted | {"guidance_scale": order.guidance_scale}) + "\n")
        peer.stdin.flush()
        answer = peer.stdout.readline()
        if not answer:
            sys.exit(f"{python} {script} ended with {peer.wait()}")
        return float(json.loads(answer)["seconds"])

    return paint


def write_random_model(pipeline: RandomPipeline, folder: Path) -> None:
    """Stable Diffusion v1.5 with random weights as a diffusers folder; its tokenizer is that of `tiny`, 77 tokens long."""
    if (folder / "model_index.json").exists():
        return
    for part in ("unet", "vae", "text_encoder"):
        getattr(pipeline, part).save_pretrained(folder / part)
        pipeline.release(part)
    copytree(ASSETS / "tiny" / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    _change(folder / "tokenizer" / "tokenizer_config.json", {"model_max_length": pipeline.tokens})
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler = {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1, "set_alpha_to_one": False}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler | BETAS))
    index: dict[str, Any] = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index | COMPONENTS))


def _change(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
