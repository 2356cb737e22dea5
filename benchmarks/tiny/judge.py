"""Judge `tiny`: `python benchmarks/tiny/judge.py` writes benchmarks/results/tiny.json and a sheet of samples.

A classifier trained on true renders names the samples of every word; the spread of its features within a word is
compared with the true renders'; CLIP ranks the words for true renders. The judge sees all images as every classifier of
the `shapes` world does: through its camera, so that it judges outlines and not the absence of noise.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).parent))
from bank import paint_bank
from settings import WORDS

from dogfast.classifiers.backbones import build
from dogfast.classifiers.evidence import collect_evidence
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.config.model import ModelConfig
from dogfast.config.presets import preset
from dogfast.data import shapes
from dogfast.data.codec import Sensor, pass_through
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import tokenize
from dogfast.engines.networks import Networks
from dogfast.engines.opening import open_networks
from dogfast.environment import choose_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, to_json, versions
from dogfast.seeds import derive_seed
from dogfast.synthesis.job import side_in_latents
from dogfast.synthesis.painter import paint
from dogfast.synthesis.recipes import resolve_recipe
from dogfast.synthesis.resolver import Sources
from dogfast.synthesis.worker import brush_for
from dogfast.training.loop import Machine, fit
from dogfast.training.regimes import regime_of

RESULTS = Path(__file__).parents[1] / "results"
PER_WORD, RENDERS_PER_WORD, TEST_RENDERS_PER_WORD = 32, 400, 32
PROMPT = "a photo of a {}"


def main() -> None:
    started = time.monotonic()
    pipeline = Pipeline(ModelConfig(), "tiny")
    precision = choose_precision("auto", "cpu").value
    networks = open_networks(pipeline, ModelConfig(backend="torch"), Events(plain_lines(sys.stderr)))
    painted, seconds = paint_samples(pipeline, networks)
    judge = train_judge(precision)
    renders, labels = paint_bank("judge-test", TEST_RENDERS_PER_WORD)
    words = torch.arange(len(WORDS)).repeat_interleave(PER_WORD)
    of_samples, of_renders = (
        collect_evidence(judge, through_camera(images, split), 500, "cpu", "fp32")
        for split, images in (("samples", painted), ("renders", renders))
    )
    named = (of_samples.logits.argmax(1) == words).float().view(len(WORDS), -1).mean(1)
    known = (of_renders.logits.argmax(1) == labels).float().view(len(WORDS), -1).mean(1)
    ranked = clip_right(pipeline, networks, renders, labels)
    ratio = spread(of_samples.features) / spread(of_renders.features)
    result = {
        "samples_named_right": float(named.mean()),
        "renders_named_right": float(known.mean()),
        "diversity_against_renders": float(ratio.mean()),
        "clip_right_word_first": float(ranked.mean()),
        "painting_img_per_s": len(painted) / seconds,
        "per_word": {
            word: {"samples": float(a), "renders": float(b), "diversity": float(c), "clip": float(d)}
            for word, a, b, c, d in zip(WORDS, named, known, ratio, ranked)
        },
        "samples_per_word": PER_WORD,
        "model_revision": pipeline.revision,
        "hardware": hardware(precision),
        "versions": versions(),
        "seconds": time.monotonic() - started,
    }
    publish(RESULTS / "tiny.json", to_json(result))
    sheet(painted).save(RESULTS / "tiny-samples.png")
    print(json.dumps({key: value for key, value in result.items() if isinstance(value, float)}, indent=2))


def paint_samples(pipeline: Pipeline, networks: Networks) -> tuple[torch.Tensor, float]:
    """`PER_WORD` samples of every word as `generate --classes shapes` paints them, uint8 (n, 3, H, W), and the seconds they took."""
    config = preset("shapes")
    conditions = [{"text": [[PROMPT.format(word), 1.0]]} for word in WORDS]
    side = side_in_latents(config.synthesis.resolution, pipeline)
    recipe, sources = resolve_recipe(config.synthesis), Sources(PROMPT, {}, lambda: None)
    brush = brush_for(pipeline, networks, recipe, conditions, sources, side, shapes.SIZE_PX, 128)
    rows = [row for row in range(len(WORDS)) for _ in range(PER_WORD)]
    started = time.monotonic()
    painted = paint(brush, rows, lambda place, attempt: derive_seed("judge", place, attempt))
    seconds = time.monotonic() - started
    return torch.stack([each.content for each in painted]).permute(0, 3, 1, 2).contiguous(), seconds


def through_camera(images: torch.Tensor, split: str) -> torch.Tensor:
    """uint8 (n, 3, H, W) with the sensor noise of the `shapes` world."""
    return pass_through(Sensor(), images, tuple(f"{split}/{index}" for index in range(len(images))))


def train_judge(precision: str) -> torch.nn.Module:
    """A wide residual network that names true renders, none of which the generator saw."""
    images, labels = paint_bank("judge-train", RENDERS_PER_WORD)
    torch.manual_seed(0)
    model = build("wrn-16-2", WORDS, [0.5] * 3, [0.25] * 3)
    config, methods = TrainingConfig(objective="ce", pretrain_epochs=6), ObjectivesConfig()
    regime = regime_of(config, methods, "shapes")
    events = Events(plain_lines(sys.stderr))
    images = through_camera(images, "judge-train")
    machine = Machine(precision=precision)
    fit(model, images, labels, None, regime, config, methods, events, machine, "train the judge")
    return model


def clip_right(pipeline: Pipeline, networks: Networks, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of each word's renders for which CLIP ranks the word first: (words,)."""
    text = networks.encode_text(tokenize(pipeline.tokenizer, [PROMPT.format(word) for word in WORDS]))[1]
    shown = torch.cat([networks.encode_image(chunk) for chunk in images.split(256)])
    first = (torch.nn.functional.normalize(shown, dim=1) @ torch.nn.functional.normalize(text, dim=1).T).argmax(1)
    return (first == labels).float().view(len(WORDS), -1).mean(1)


def spread(features: torch.Tensor) -> torch.Tensor:
    """Mean pairwise distance of features within each word: (words,)."""
    grouped = features.view(len(WORDS), -1, features.shape[1])
    count = grouped.shape[1]
    return torch.cdist(grouped, grouped).sum((1, 2)) / (count * (count - 1))


def sheet(images: torch.Tensor, shown: int = 8, columns: int = 4) -> Image.Image:
    """The first samples of every word under its name."""
    cell, block = 34, 34 * shown + 12
    rows = -(-len(WORDS) // columns)
    page = Image.new("RGB", (columns * block, rows * (cell + 14)), "white")
    draw = ImageDraw.Draw(page)
    pixels = images.permute(0, 2, 3, 1).numpy().reshape(len(WORDS), PER_WORD, *images.shape[2:], 3)
    for index, word in enumerate(WORDS):
        x, y = (index % columns) * block, (index // columns) * (cell + 14)
        for k in range(shown):
            page.paste(Image.fromarray(np.ascontiguousarray(pixels[index, k])), (x + k * cell, y))
        draw.text((x, y + cell - 1), word, fill="black")
    return page.resize((page.width * 2, page.height * 2), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
