"""How fast shards are read for training: `python benchmarks/streaming.py [--images N] [--rounds N]`.

Our reader (SHA-256 and headers checked, facts parsed, windows shuffled, uint8 tensors out) against webdataset's own: its
`WebDataset(...).decode("torchrgb8")` in one process, and in a DataLoader of two workers, both with samples batched where
they are decoded. Same shards, written by our writer: PNG of 32 px, and JPEG (quality 95, 4:4:4) of 224 px. As in training,
the set is read several times over, and every contender may read ahead; they take turns. Writes benchmarks/results/streaming.json.
"""

import hashlib
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from timing import interleaved
from torch.utils.data import DataLoader

from dogfast.data.codec import Lossless
from dogfast.data.shapes import VOCABULARY, render
from dogfast.environment import hardware
from dogfast.run import publish, to_json, versions
from dogfast.shards.format import Facts, sample_key
from dogfast.shards.writer import commit_shard, encode_sample
from dogfast.training.parts import Shards
from dogfast.training.streamed import Streamed

RESULT = Path(__file__).parent / "results" / "streaming.json"
BATCH, SHARDS, WORKERS, CYCLES = 64, 8, 2, 3
WINDOW_BYTES = 512 * 2**20
OURS, ALONE, LOADER = "dogfast", "webdataset", f"webdataset, {WORKERS} workers"
SETS = {"png-32": (32, 8000), "jpeg-224": (224, 2000)}
"""Side in pixels, and images."""


def main(images: int, rounds: int) -> None:
    found = {name: measure(side, images or usual, rounds) for name, (side, usual) in SETS.items()}
    facts = {"batch": BATCH, "shards": SHARDS, "cycles": CYCLES, "workers": WORKERS, "hardware": hardware("uint8")}
    facts["versions"] = versions() | {"webdataset": version("webdataset")}
    publish(RESULT, to_json({"sets": found, **facts}))


def measure(side: int, images: int, rounds: int) -> dict[str, Any]:
    """Images a second of every contender on one set, and ours over the faster of webdataset's."""
    with TemporaryDirectory() as place:
        folder, count = Path(place), images // (SHARDS * BATCH) * SHARDS * BATCH
        write(folder, side, count)
        contenders: dict[str, Callable[[], None]] = {
            OURS: lambda: read_ours(folder, side, count),
            ALONE: lambda: read_theirs(folder, count, 0),
            LOADER: lambda: read_theirs(folder, count, WORKERS),
        }
        seconds = interleaved(contenders, rounds)
    rates = {name: [CYCLES * count / each for each in all_of] for name, all_of in seconds.items()}
    middle = {name: median(each) for name, each in rates.items()}
    for name, rate in middle.items():
        print(f"{side} px: {name}: {rate:.0f} images/s", file=sys.stderr, flush=True)
    shown = {name: {"img_per_s": middle[name], "slowest": min(each), "fastest": max(each)} for name, each in rates.items()}
    over = middle[OURS] / max(middle[ALONE], middle[LOADER])
    return {"side_px": side, "images": count, "rounds": rounds, "contenders": shown, "over_the_faster_peer": over}


def write(folder: Path, side: int, count: int) -> None:
    """Shards of pictures of words with a camera's grain, so that they take up what photographs do."""
    grain = np.random.default_rng(0)
    for shard in range(SHARDS):
        samples = []
        for index in range(count // SHARDS):
            word = VOCABULARY[index % len(VOCABULARY)]
            picture = Image.fromarray(render(word, "benchmark", shard, index, 32)).resize(
                (side, side), Image.Resampling.BICUBIC
            )
            pixels = (np.asarray(picture) + grain.normal(0, 3, (side, side, 3))).round().clip(0, 255).astype(np.uint8)
            samples.append(encode_sample(pixels, facts(shard, index, word, side)))
        commit_shard(folder, shard, samples, hashlib.sha256(), {"failed": 0, "seconds": 0.0})


def facts(shard: int, index: int, word: str, side: int) -> Facts:
    return Facts(
        key=sample_key(shard, index),
        cls=index % 8,
        class_name="circle",
        strategy="boundary",
        anchor=word,
        synset="",
        prompt=f"a photo of a {word}",
        condition=index,
        seed=index,
        status="ok",
        attempt=0,
        width=side,
        height=side,
        recipe="quality",
        steps=20,
        guidance_scale=4.0,
        resize="none",
        model="tiny",
        model_revision="r0",
    )


def read_ours(folder: Path, side: int, count: int) -> None:
    streamed = Streamed(Shards(lambda: folder, side, Lossless()), side, WINDOW_BYTES, 0)
    for _ in range(CYCLES * count // BATCH):
        assert streamed.take(BATCH).shape == (BATCH, 3, side, side)
    streamed.close()


def read_theirs(folder: Path, count: int, workers: int) -> None:
    shards = sorted(map(str, folder.glob("*.tar")))
    cycles = webdataset.WebDataset(shards, shardshuffle=False).repeat(CYCLES)
    samples = cycles.decode("torchrgb8").to_tuple("png;jpg", "json")
    batches = DataLoader(samples.batched(BATCH, collation_fn=collated), batch_size=None, num_workers=workers)
    assert sum(len(images) for images, _ in batches) == CYCLES * count


def collated(samples: list[tuple[torch.Tensor, dict[str, Any]]]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    images, described = zip(*samples)
    return torch.stack(images), list(described)


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=0, help="of each set; default: the usual")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    main(given.images, given.rounds)
