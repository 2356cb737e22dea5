"""Train `tiny` from nothing: `python benchmarks/tiny/train.py [FOLDER]` (default dogfast/assets/tiny).

Stages whose result is already in FOLDER's work folder are not repeated, so a stopped training goes on at its last stage.
"""

import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

sys.path.insert(0, str(Path(__file__).parent))
from alignment import align, pooled_prompts
from autoencoder import encode, train_autoencoder
from bank import paint_bank
from clip import train_clip
from export import load_projection, save_network, save_projection, write_pipeline
from settings import SEED, UNET_PHASES
from tokenizer import write_tokenizer
from unet import new_unet, prompt_table, train_unet

WORK = Path("build/tiny")


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    started = time.monotonic()
    images, labels = paint_bank("train")
    print(f"bank images={len(images)} seconds={time.monotonic() - started:.0f}", flush=True)

    if not (WORK / "tokenizer").exists():  # merges of equal frequency come in another order each time
        write_tokenizer(WORK / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(WORK / "tokenizer")

    if not (WORK / "vae").exists():
        save_network(train_autoencoder(images), WORK / "vae")
    vae = AutoencoderKL.from_pretrained(WORK / "vae").eval()

    if not (WORK / "image_encoder").exists():
        text, projection, vision = train_clip(images, labels, tokenizer)
        save_projection(projection, WORK)
        save_network(text, WORK / "text_encoder")
        save_network(vision, WORK / "image_encoder")
    text = CLIPTextModel.from_pretrained(WORK / "text_encoder").eval()

    if not (WORK / "aligned").exists():
        vision = CLIPVisionModelWithProjection.from_pretrained(WORK / "image_encoder", attn_implementation="eager")
        projection = load_projection(WORK)
        align(images, labels, pooled_prompts(text, tokenizer), projection, vision)
        save_network(vision, WORK / "aligned")
        save_projection(projection, WORK / "aligned")
    vision = CLIPVisionModelWithProjection.from_pretrained(WORK / "aligned").eval()

    latents = encode(vae, images) * vae.config.scaling_factor
    prompts = prompt_table(text, tokenizer)
    unet = new_unet()
    for phase in range(len(UNET_PHASES)):
        done = WORK / f"unet-{phase}"
        if not done.exists():
            save_network(train_unet(unet, phase, latents, labels, prompts), done)
        unet = UNet2DConditionModel.from_pretrained(done)
        write_pipeline(folder, unet, vae, text, load_projection(WORK / "aligned"), vision, WORK / "tokenizer")
    print(f"done seconds={time.monotonic() - started:.0f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dogfast/assets/tiny"))
