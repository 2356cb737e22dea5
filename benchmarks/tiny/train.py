"""Train `tiny` from nothing: `python benchmarks/tiny/train.py [FOLDER]` (default dogfast/assets/tiny).

What stands in build/tiny is not repeated, so a stopped training goes on at its last checkpoint.
"""

import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

sys.path.append(str(Path(__file__).parents[1]))
from alignment import align
from bank import paint_bank, vary
from recipe.autoencoder import encode, train_autoencoder
from recipe.clip import new_towers, train_clip
from recipe.denoiser import said, train_denoiser
from recipe.export import load_projection, save_network, save_projection, write_pipeline
from recipe.loop import Loop
from recipe.prompts import prompts_of
from recipe.tokenizer import write_tokenizer
from settings import AUTOENCODER, MAX_TOKENS, SEED, TEMPLATES, TEXT, TRAINING, UNET, UNET_PHASES, VISION, WORDS

from dogfast.environment import processor_has_bf16

WORK = Path("build/tiny")


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    started = time.monotonic()
    loop = Loop(WORK, bf16=processor_has_bf16(), seed=SEED)
    bank = paint_bank("train")
    print(f"bank images={len(bank)} seconds={time.monotonic() - started:.0f}", flush=True)

    if not (WORK / "tokenizer").exists():  # merges of equal frequency come in another order each time
        write_tokenizer(WORK / "tokenizer", WORDS, TEMPLATES, MAX_TOKENS)
    tokenizer = CLIPTokenizer.from_pretrained(WORK / "tokenizer")
    prompts = prompts_of(tokenizer, [(word,) for word in WORDS], TEMPLATES)

    if not (WORK / "vae").exists():
        save_network(train_autoencoder(loop, bank, vary, AUTOENCODER, TRAINING["autoencoder"]), WORK / "vae")
    vae = AutoencoderKL.from_pretrained(WORK / "vae").eval()

    if not (WORK / "image_encoder").exists():
        towers = train_clip(loop, bank, prompts, vary, new_towers(tokenizer, TEXT, VISION), TRAINING["clip"])
        save_projection(towers.projection, WORK)
        save_network(towers.text, WORK / "text_encoder")
        save_network(towers.vision, WORK / "image_encoder")
    text = CLIPTextModel.from_pretrained(WORK / "text_encoder").eval()
    states, pooled = said(text, prompts.tokens)

    if not (WORK / "aligned").exists():
        vision = CLIPVisionModelWithProjection.from_pretrained(WORK / "image_encoder", attn_implementation="eager")
        projection = load_projection(WORK)
        align(loop, bank, prompts, pooled, projection, vision)
        save_network(vision, WORK / "aligned")
        save_projection(projection, WORK / "aligned")
    vision = CLIPVisionModelWithProjection.from_pretrained(WORK / "aligned").eval()

    latents = encode(loop, vae, bank.images)[None] * vae.config.scaling_factor
    unet = UNet2DConditionModel(**UNET)
    for phase, setting in enumerate(UNET_PHASES):
        done = WORK / f"unet-{phase}"
        if not done.exists():
            learned = train_denoiser(loop, done.name, unet, bank, latents, prompts, states, TRAINING["unet"] | setting)
            save_network(learned, done)
        unet = UNet2DConditionModel.from_pretrained(done)
        write_pipeline(folder, unet, vae, text, load_projection(WORK / "aligned"), vision, WORK / "tokenizer")
    print(f"done seconds={time.monotonic() - started:.0f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dogfast/assets/tiny"))
