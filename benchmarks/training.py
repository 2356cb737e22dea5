"""How fast outlier exposure trains: `python benchmarks/training.py [DEVICE]` writes benchmarks/results/training.json.

The loop of `dogfast train` (objective `oe`) against the loop that people write first: a DataLoader of PIL images with a
transform an image, in as many worker processes as there are cores. Same wide residual network, batch and precision, and
beside it fp32. Contenders take turns. The share of its time that our loop waits for the next batch stands beside its rate.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from dogfast.classifiers.backbones import build
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.environment import hardware, processor_count
from dogfast.events import Events
from dogfast.run import publish, to_json, versions
from dogfast.training.batches import Held
from dogfast.training.loop import Machine, fit
from dogfast.training.regimes import regime_of

RESULT = Path(__file__).parent / "results" / "training.json"
BACKBONE, CLASSES, SIDE_PX, PAD = "wrn-40-2", 10, 32, 4
ROUNDS = 7
STEPS = {"cpu": 4, "cuda": 200}
"""Steps that are timed together."""
PRECISIONS = ("bf16", "fp32")
CONFIG = TrainingConfig(objective="oe", dropout=0.0, epochs=1)
METHODS = ObjectivesConfig()
REGIME = regime_of(CONFIG, METHODS, "cifar10")

Contender = Callable[[], tuple[float, float]]
"""Trains some steps; seconds, and of them those that were waited for images."""


def main(device: str) -> None:
    images, outliers = (_noise(count * STEPS[device], seed) for seed, count in enumerate((REGIME.batch, REGIME.ood_batch)))
    contenders: dict[str, Contender] = {}
    for precision in PRECISIONS:
        contenders[f"dogfast {precision}"] = ours(images, outliers, device, precision)
        contenders[f"DataLoader {precision}"] = plain(images, outliers, device, precision)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(-1, ROUNDS):
        for name, contender in contenders.items():
            took = contender()
            print(f"round {number}: {name}: {took[0]:.2f} s, {took[1]:.3f} s of it waiting", file=sys.stderr, flush=True)
            if number >= 0:
                found[name].append(took)
    passes = len(images) + len(outliers)
    result = {
        "rows": {name: summary(times, passes) for name, times in found.items()},
        "order": list(contenders),
        "backbone": BACKBONE,
        "batch": REGIME.batch,
        "ood_batch": REGIME.ood_batch,
        "steps": STEPS[device],
        "rounds": ROUNDS,
        "workers": processor_count(),
        "hardware": hardware("bf16"),
        "versions": versions(),
    }
    publish(RESULT, to_json(result))


def summary(times: list[tuple[float, float]], passes: int) -> dict[str, Any]:
    """Images a second, ID and outliers together: median, slowest and fastest; and the median share of waiting."""
    rates = [passes / seconds for seconds, _ in times]
    return {
        "img_per_s": median(rates),
        "slowest": min(rates),
        "fastest": max(rates),
        "waiting": median(waited / seconds for seconds, waited in times),
    }


def _noise(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, SIDE_PX, SIDE_PX), dtype=torch.uint8, generator=generator)


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(BACKBONE, tuple(map(str, range(CLASSES))), [0.5] * 3, [0.25] * 3)


# --- the contenders ---------------------------------------------------------------------------------------------
def ours(images: torch.Tensor, outliers: torch.Tensor, device: str, precision: str) -> Contender:
    model, labels = _model(), torch.arange(len(images)) % CLASSES

    def call() -> tuple[float, float]:
        machine = Machine(device, precision)
        report = fit(model, images, labels, Held(outliers, 0), REGIME, CONFIG, METHODS, Events(), machine)
        return report["seconds"], report["waited_s"]

    return call


class Transformed(Dataset):
    """PIL images, each cropped, mirrored and made a tensor when it is asked for."""

    def __init__(self, images: torch.Tensor):
        self.images = [Image.fromarray(image) for image in images.permute(0, 2, 3, 1).numpy()]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        left, top, mirrored = (int(torch.randint(n, ())) for n in (2 * PAD + 1, 2 * PAD + 1, 2))
        image = ImageOps.expand(self.images[index], PAD).crop((left, top, left + SIDE_PX, top + SIDE_PX))
        image = ImageOps.mirror(image) if mirrored else image
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255, index % CLASSES


def plain(images: torch.Tensor, outliers: torch.Tensor, device: str, precision: str) -> Contender:
    model = _model().to(device)
    sets = [(Transformed(images), REGIME.batch), (Transformed(outliers), REGIME.ood_batch)]
    options: dict[str, Any] = {"shuffle": True, "drop_last": True, "pin_memory": device != "cpu"}
    workers = {"num_workers": max(processor_count() // 2, 1), "persistent_workers": True}
    loaders = [DataLoader(images, batch, **options, **workers) for images, batch in sets]
    optimizer = torch.optim.SGD(model.parameters(), REGIME.lr, momentum=0.9, nesterov=True, weight_decay=REGIME.weight_decay)

    def call() -> tuple[float, float]:
        model.train()
        waited, began = 0.0, time.perf_counter()
        for (known, labels), (unknown, _), waiting in _watched(*loaders):
            waited += waiting
            together = torch.cat([known, unknown]).to(device)
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                logits = model(together).float()
            known_logits, unknown_logits = logits[: len(known)], logits[len(known) :]
            exposure = (unknown_logits.logsumexp(1) - unknown_logits.mean(1)).mean()
            loss = F.cross_entropy(known_logits, labels.to(device)) + REGIME.oe_weight * exposure
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            float(loss.detach())
        return time.perf_counter() - began, waited

    return call


def _watched(*loaders: DataLoader) -> Iterator[tuple[Any, Any, float]]:
    """The loaders' batches side by side, and the seconds that were waited for them."""
    pairs = zip(*loaders)
    while True:
        began = time.perf_counter()
        pair = next(pairs, None)
        if pair is None:
            return
        yield *pair, time.perf_counter() - began


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["cpu"]))
