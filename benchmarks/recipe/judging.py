"""How good a generator is: samples of every concept, how far they spread, and a sheet to look at."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from recipe.bank import to_signed
from torch import Tensor
from torch.nn import functional as F

from dogfast.config import SynthesisConfig
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import tokenize
from dogfast.engines.networks import Networks
from dogfast.seeds import derive_seed
from dogfast.synthesis.job import side_in_latents
from dogfast.synthesis.painter import paint
from dogfast.synthesis.recipes import resolve_recipe
from dogfast.synthesis.resolver import Sources
from dogfast.synthesis.worker import brush_for

PROMPT = "a photo of a {}"
ROWS = 128


def paint_samples(
    pipeline: Pipeline, networks: Networks, words: Sequence[str], each: int, config: SynthesisConfig, side_px: int
) -> tuple[Tensor, float]:
    """``each`` samples of every word as `generate` paints them by ``config``, uint8 (n, 3, H, W), and the seconds they took."""
    conditions = [{"text": [[PROMPT.format(word), 1.0]]} for word in words]
    side = side_in_latents(config.resolution, pipeline)
    recipe, sources = resolve_recipe(config), Sources(PROMPT, {}, lambda: None)
    brush = brush_for(pipeline, networks, recipe, conditions, sources, side, side_px, ROWS)
    rows = [row for row in range(len(words)) for _ in range(each)]
    started = time.monotonic()
    painted = paint(brush, rows, lambda place, attempt: derive_seed("judge", place, attempt))
    seconds = time.monotonic() - started
    return torch.stack([sample.content for sample in painted]).permute(0, 3, 1, 2).contiguous(), seconds


@torch.no_grad()
def decoded(networks: Networks, images: Tensor) -> Tensor:
    """uint8 images (n, 3, H, W) after the autoencoder."""
    parts = [networks.decode(networks.encode(to_signed(chunk))) for chunk in images.split(ROWS)]
    return ((torch.cat(parts).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def ranked_first(pipeline: Pipeline, networks: Networks, words: Sequence[str], images: Tensor) -> Tensor:
    """The word that CLIP ranks first for each of ``images``, uint8 (n, 3, H, W): its index (n,)."""
    text = networks.encode_text(tokenize(pipeline.tokenizer, [PROMPT.format(word) for word in words]))[1]
    shown = torch.cat([networks.encode_image(chunk) for chunk in images.split(256)])
    return (F.normalize(shown, dim=1) @ F.normalize(text, dim=1).T).argmax(1)


def share_right(found: Tensor, labels: Tensor, concepts: int) -> Tensor:
    """Of each concept's rows the share in which ``found`` is the label: (concepts,)."""
    right = torch.zeros(concepts).index_add_(0, labels, (found == labels).float())
    return right / torch.bincount(labels, minlength=concepts)


def spread(features: Tensor, concepts: int) -> Tensor:
    """Mean pairwise distance of features (n, d), as many of each concept, within each: (concepts,)."""
    grouped = features.view(concepts, -1, features.shape[1])
    count = grouped.shape[1]
    return torch.cdist(grouped, grouped).sum((1, 2)) / (count * (count - 1))


def sheet(images: Tensor, words: Sequence[str], shown: int = 8, columns: int = 4) -> Image.Image:
    """The first samples of every word under its name, twice as large; ``images``: as many of each word, in turn."""
    side = images.shape[-1]
    cell, block = side + 2, (side + 2) * shown + 12
    rows = -(-len(words) // columns)
    page = Image.new("RGB", (columns * block, rows * (cell + 14)), "white")
    draw = ImageDraw.Draw(page)
    pixels = images.permute(0, 2, 3, 1).numpy().reshape(len(words), -1, side, side, 3)
    for index, word in enumerate(words):
        x, y = (index % columns) * block, (index // columns) * (cell + 14)
        for k in range(shown):
            page.paste(Image.fromarray(np.ascontiguousarray(pixels[index, k])), (x + k * cell, y))
        draw.text((x, y + cell - 1), word, fill="black")
    return page.resize((page.width * 2, page.height * 2), Image.Resampling.NEAREST)
