"""Judge `tiny`: `python benchmarks/tiny/judge.py` writes benchmarks/results/tiny.json and a sheet of samples.

A classifier trained on true renders names the samples of every word; the spread of its features within a word is
compared with the true renders'; CLIP ranks the words for true renders. The judge sees all images as every classifier of
the `shapes` world does: through its camera, so that it judges outlines and not the absence of noise.
"""

import json
import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1]))
from bank import paint_bank
from recipe.judging import paint_samples, ranked_first, share_right, sheet, spread
from settings import WORDS

from dogfast.classifiers.backbones import build
from dogfast.classifiers.evidence import collect_evidence
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.config.model import ModelConfig
from dogfast.config.presets import preset
from dogfast.data import shapes
from dogfast.data.codec import Sensor, pass_through
from dogfast.diffusion.load import Pipeline
from dogfast.engines.opening import open_networks
from dogfast.environment import choose_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, to_json, versions
from dogfast.training.loop import Machine, fit
from dogfast.training.regimes import regime_of

RESULTS = Path(__file__).parents[1] / "results"
PER_WORD, RENDERS_PER_WORD, TEST_RENDERS_PER_WORD = 32, 400, 32


def main() -> None:
    started, count = time.monotonic(), len(WORDS)
    pipeline = Pipeline(ModelConfig(), "tiny")
    precision = choose_precision("auto", "cpu").value
    networks = open_networks(pipeline, ModelConfig(backend="torch"), Events(plain_lines(sys.stderr)))
    painted, seconds = paint_samples(pipeline, networks, WORDS, PER_WORD, preset("shapes").synthesis, shapes.SIZE_PX)
    judge = train_judge(precision)
    renders = paint_bank("judge-test", TEST_RENDERS_PER_WORD)
    words = torch.arange(count).repeat_interleave(PER_WORD)
    of_samples, of_renders = (
        collect_evidence(judge, through_camera(images, split), 500, "cpu", "fp32")
        for split, images in (("samples", painted), ("renders", renders.images))
    )
    named = share_right(of_samples.logits.argmax(1), words, count)
    known = share_right(of_renders.logits.argmax(1), renders.labels, count)
    ranked = share_right(ranked_first(pipeline, networks, WORDS, renders.images), renders.labels, count)
    ratio = spread(of_samples.features, count) / spread(of_renders.features, count)
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
    sheet(painted, WORDS).save(RESULTS / "tiny-samples.png")
    print(json.dumps({key: value for key, value in result.items() if isinstance(value, float)}, indent=2))


def through_camera(images: torch.Tensor, split: str) -> torch.Tensor:
    """uint8 (n, 3, H, W) with the sensor noise of the `shapes` world."""
    return pass_through(Sensor(), images, tuple(f"{split}/{index}" for index in range(len(images))))


def train_judge(precision: str) -> torch.nn.Module:
    """A wide residual network that names true renders, none of which the generator saw."""
    renders = paint_bank("judge-train", RENDERS_PER_WORD)
    torch.manual_seed(0)
    model = build("wrn-16-2", WORDS, [0.5] * 3, [0.25] * 3)
    config, methods = TrainingConfig(objective="ce", pretrain_epochs=6), ObjectivesConfig()
    regime = regime_of(config, methods, "shapes")
    events = Events(plain_lines(sys.stderr))
    images = through_camera(renders.images, "judge-train")
    machine = Machine(precision=precision)
    fit(model, images, renders.labels, None, regime, config, methods, events, machine, "train the judge")
    return model


if __name__ == "__main__":
    main()
