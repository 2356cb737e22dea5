"""Train `mini`: `torchrun --nproc-per-node auto benchmarks/mini/train.py DATA [--setting gpu|cpu] [--minutes M] [--folder F]`.

DATA holds cifar10-train.tar and tiny-imagenet32-train.tar (class/number.jpg). What stands in build/mini is not repeated: a
training that was stopped, by its own `--minutes` or by force, goes on at its last checkpoint with the same command.
"""

import sys
import time
from functools import partial
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
from recipe.bank import Bank
from recipe.clip import Towers, new_towers, train_clip
from recipe.denoiser import said, train_denoiser
from recipe.export import load_projection, save_network, save_projection, write_pipeline
from recipe.loop import Loop, Stopped
from recipe.prompts import prompts_of
from recipe.tokenizer import write_tokenizer
from settings import MAX_TOKENS, SEED, SETTINGS, TEMPLATES
from vocabulary import concepts

from dogfast.environment import hardware
from dogfast.run import publish, read_json, to_json


def train(command: Command) -> None:
    """Every stage that does not stand yet, then the folder of the pipeline. Raises `Stopped` where the time is over."""
    loop, work, chosen = command.loop, command.loop.folder, SETTINGS[command.setting]
    names = [each.names for group in concepts() for each in group]
    loop.alone(lambda: prepare(command, names))
    bank = load_bank(command.data, WORK / "bank.safetensors").to(loop.device)
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    prompts = prompts_of(tokenizer, names, TEMPLATES).to(loop.device)

    if not (work / "vae").exists():
        vae = train_autoencoder(loop, bank, mirrored, chosen["autoencoder"], chosen["training"]["autoencoder"])
        loop.alone(lambda: save_network(vae, work / "vae"))

    if not (work / "image_encoder").exists():
        torch.manual_seed(SEED)
        towers = new_towers(tokenizer, chosen["text"], chosen["vision"])
        loop.alone(partial(save_towers, train_clip(loop, bank, prompts, shifted, towers, chosen["training"]["clip"]), work))

    text = CLIPTextModel.from_pretrained(work / "text_encoder").eval().to(loop.device)
    if not (work / "unet").exists():
        latents = load_latents(loop, AutoencoderKL.from_pretrained(work / "vae").eval().to(loop.device), bank)
        torch.manual_seed(SEED)
        start = UNet2DConditionModel(**chosen["unet"])
        states, _ = said(text, prompts.tokens)
        unet = train_denoiser(loop, "unet", start, bank, latents, prompts, states, chosen["training"]["unet"])
        loop.alone(lambda: save_network(unet, work / "unet"))
    loop.alone(lambda: write_all(work, command.folder))


def prepare(command: Command, names: list[tuple[str, ...]]) -> None:
    """The photographs decoded, and the tokenizer: merges of equal frequency come in another order each time."""
    load_bank(command.data, WORK / "bank.safetensors")
    folder = command.loop.folder / "tokenizer"
    if not folder.exists():
        write_tokenizer(folder, [name for those in names for name in those], TEMPLATES, MAX_TOKENS)


def save_towers(towers: Towers, work: Path) -> None:
    save_projection(towers.projection, work)
    save_network(towers.text, work / "text_encoder")
    save_network(towers.vision, work / "image_encoder")


def load_latents(loop: Loop, vae: AutoencoderKL, bank: Bank) -> Tensor:
    """Scaled latents of every photograph and of its mirror image, float16 (2, n, channels, h, w); encoded once and kept."""
    file = loop.folder / "latents.safetensors"
    if not file.exists():
        whole = []
        for images in (bank.images, bank.images.flip(-1)):
            latents = encode(loop, vae, images[loop.ranks.rows(len(images))]) * vae.config.scaling_factor
            whole.append(loop.ranks.gather(latents).half())
        loop.alone(lambda: save_file({"latents": torch.stack(whole)}, file))
    return load_file(file, loop.device)["latents"]


def write_all(work: Path, folder: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(work / "unet")
    vae = AutoencoderKL.from_pretrained(work / "vae")
    text = CLIPTextModel.from_pretrained(work / "text_encoder")
    vision = CLIPVisionModelWithProjection.from_pretrained(work / "image_encoder")
    write_pipeline(folder, unet, vae, text, load_projection(work), vision, work / "tokenizer")


def main() -> None:
    command, began = read_command(), time.monotonic()
    file = command.loop.folder / "spent.json"
    before = read_json(file)["seconds"] if file.exists() else 0.0

    def account() -> None:
        seconds, processes = before + time.monotonic() - began, command.loop.ranks.count
        spent = {"seconds": seconds, "setting": command.setting, "processes": processes}
        publish(file, to_json(spent | {"hardware": hardware(command.precision)}))

    try:
        train(command)
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on")
    command.loop.alone(account)


if __name__ == "__main__":
    main()
