"""Train `mini`: `python benchmarks/mini/train.py DATA [--setting gpu|cpu] [--minutes M] [--folder benchmarks/mini/weights]`.

DATA holds cifar10-train.tar and tiny-imagenet32-train.tar (class/number.jpg). What stands in build/mini is not repeated: a
training that was stopped, by its own `--minutes` or by force, goes on at its last checkpoint with the same command.
"""

import math
import signal
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

sys.path.append(str(Path(__file__).parents[1]))
from command import WORK, Command, read_command
from images import load_bank, mirrored, shifted
from recipe.autoencoder import encode, train_autoencoder
from recipe.bank import Bank, to_signed
from recipe.clip import new_towers, seen_by, train_clip
from recipe.denoiser import said, train_denoiser
from recipe.export import load_projection, save_network, save_projection, write_pipeline
from recipe.loop import Loop, Stopped
from recipe.prompts import prompts_of
from recipe.sharpen import sharpen
from recipe.tokenizer import write_tokenizer
from settings import MAX_TOKENS, SEED, SETTINGS, TEMPLATES
from vocabulary import concepts

from dogfast.environment import hardware
from dogfast.run import publish, read_json, to_json

LEAST_DB = 20
"""Of photographs that went through the autoencoder; a grey area in place of each has 12."""


def train(command: Command) -> None:
    """Every stage that does not stand yet, then the folder of the pipeline. Raises `Stopped` where the time is over."""
    loop, work, chosen = command.loop, command.loop.folder, SETTINGS[command.setting]
    bank = load_bank(command.data, WORK / "bank.safetensors").to(loop.device)
    names = [each.names for group in concepts() for each in group]
    if not (work / "tokenizer").exists():  # merges of equal frequency come in another order each time
        write_tokenizer(work / "tokenizer", [name for those in names for name in those], TEMPLATES, MAX_TOKENS)
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    prompts = prompts_of(tokenizer, names, TEMPLATES).to(loop.device)

    if not (work / "vae").exists():
        vae = train_autoencoder(loop, bank, mirrored, chosen["autoencoder"], chosen["training"]["autoencoder"])
        require_learned(loop, vae, bank)
        save_network(vae, work / "vae")
    vae = AutoencoderKL.from_pretrained(work / "vae").eval().to(loop.device)

    if not (work / "image_encoder").exists():
        torch.manual_seed(SEED)
        towers = train_clip(
            loop, bank, prompts, shifted, new_towers(tokenizer, chosen["text"], chosen["vision"]), chosen["training"]["clip"]
        )
        save_projection(towers.projection, work)
        save_network(towers.text, work / "text_encoder")
        save_network(towers.vision, work / "image_encoder")
    text = CLIPTextModel.from_pretrained(work / "text_encoder").eval().to(loop.device)

    if not (work / "unet").exists():
        latents = load_latents(loop, vae, bank)
        torch.manual_seed(SEED)
        start = UNet2DConditionModel(**chosen["unet"])
        states, _ = said(text, prompts.tokens)
        sight = load_sight(loop, bank, chosen["unet"]["sample_size"] // 2)
        unet = train_denoiser(loop, "unet", start, bank, latents, prompts, states, chosen["training"]["unet"], sight)
        save_network(unet, work / "unet")
    if not (work / "sharp-vae").exists():
        sharp = sharpen(loop, vae, bank, load_latents(loop, vae, bank), chosen["training"]["decoder"])
        save_network(sharp, work / "sharp-vae")
    vae = AutoencoderKL.from_pretrained(work / "sharp-vae")
    unet = UNet2DConditionModel.from_pretrained(work / "unet")
    vision = CLIPVisionModelWithProjection.from_pretrained(work / "image_encoder")
    write_pipeline(command.folder, unet, vae, text, load_projection(work), vision, work / "tokenizer")


@torch.no_grad()
def require_learned(loop: Loop, vae: AutoencoderKL, bank: Bank) -> None:
    """All later stages stand on the autoencoder: end where it does not give photographs back."""
    some = bank.images[:: max(1, len(bank) // 500)]
    error = (vae.decode(encode(loop, vae, some)).sample.clamp(-1, 1) - to_signed(some)).square().mean().item()
    decibels = 10 * math.log10(4 / error)
    print(f"autoencoder: photographs come back at {decibels:.1f} dB")
    if decibels < LEAST_DB:
        sys.exit(f"the autoencoder did not learn: {LEAST_DB} dB are the least")


def load_latents(loop: Loop, vae: AutoencoderKL, bank: Bank) -> Tensor:
    """Scaled latents of every photograph and of its mirror image, float16 (2, n, channels, h, w); encoded once and kept."""
    file = loop.folder / "latents.safetensors"
    if not file.exists():
        both = [encode(loop, vae, images) * vae.config.scaling_factor for images in (bank.images, bank.images.flip(-1))]
        save_file({"latents": torch.stack(both).half().contiguous()}, file)
    return load_file(file, loop.device)["latents"]


def load_sight(loop: Loop, bank: Bank, side: int) -> Tensor:
    """What CLIP sees of every photograph and of its mirror image, float16 (2, n, side², width); that of the mirror image is mirrored."""
    file = loop.folder / "sight.safetensors"
    if not file.exists():
        vision = CLIPVisionModelWithProjection.from_pretrained(loop.folder / "image_encoder").eval().to(loop.device)
        save_file({"tokens": seen_by(loop, vision, bank.images, side)}, file)
    tokens = load_file(file, loop.device)["tokens"]
    mirrored = tokens.unflatten(1, (side, side)).flip(2).flatten(1, 2)
    return torch.stack([tokens, mirrored])


def main() -> None:
    command, began = read_command(), time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; the same command goes on"))  # and what was spent is written down
    file = command.loop.folder / "spent.json"
    before = read_json(file)["seconds"] if file.exists() else 0.0
    try:
        train(command)
        print("done")
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on")
    finally:
        seconds = before + time.monotonic() - began
        publish(file, to_json({"seconds": seconds, "setting": command.setting, "hardware": hardware(command.precision)}))


if __name__ == "__main__":
    main()
