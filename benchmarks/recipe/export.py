"""Write the trained networks as a diffusers folder in fp16, the layout of Stable Diffusion v1.5 plus its CLIP image tower."""

import json
from copy import deepcopy
from pathlib import Path
from shutil import copytree

import torch
from recipe.denoiser import SCHEDULER
from safetensors.torch import load_file, save_file

PROJECTION_FILE = "text_projection.safetensors"
COMPONENTS = {
    "scheduler": ("diffusers", "PNDMScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "image_encoder": (None, None),
    "feature_extractor": (None, None),
    "safety_checker": (None, None),
}


def save_network(network, folder: Path) -> None:
    """Weights and configuration, without the place that the network was once loaded from."""
    network.save_pretrained(folder, safe_serialization=True)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config.pop("_name_or_path", None)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def save_projection(projection: torch.nn.Linear, folder: Path) -> None:
    save_file({"weight": projection.weight.detach().contiguous()}, folder / PROJECTION_FILE)


def load_projection(folder: Path) -> torch.nn.Linear:
    weight = load_file(folder / PROJECTION_FILE)["weight"]
    projection = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    projection.load_state_dict({"weight": weight})
    return projection


def write_preprocessor(folder: Path, side_px: int) -> None:
    """What the image tower expects: squares of so many pixels, RGB in [-1, 1]."""
    folder.mkdir(exist_ok=True)
    half = [0.5, 0.5, 0.5]
    config = dict(
        image_processor_type="CLIPImageProcessor",
        crop_size=dict(height=side_px, width=side_px),
        image_mean=half,
        image_std=half,
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_pipeline(folder: Path, unet, vae, text, projection: torch.nn.Linear, vision, tokenizer: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    networks = {"unet": unet, "vae": vae, "text_encoder": text, "image_encoder": vision}
    for name, network in networks.items():
        save_network(deepcopy(network).half(), folder / name)
    save_projection(deepcopy(projection).half(), folder)
    copytree(tokenizer, folder / "tokenizer", dirs_exist_ok=True)
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler = {"_class_name": "PNDMScheduler", **SCHEDULER}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler, indent=2) + "\n")
    write_preprocessor(folder / "feature_extractor", vision.config.image_size)
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    index |= {name: list(classes) for name, classes in COMPONENTS.items()}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
