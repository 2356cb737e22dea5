"""Judge `mini`: `python benchmarks/mini/judge.py DATA [--setting gpu|cpu]` writes benchmarks/results/mini.json, samples and a card.

DATA holds the tars of `train.py` and those it is tested on, cifar10-test.tar and tiny-imagenet32-val.tar. A classifier that is
none of `mini`'s networks, trained on the same photographs, names samples of every concept and photographs nobody trained on;
in its features samples and photographs are compared: how far they spread within a concept, and the Fréchet distance. CLIP
ranks CIFAR-10's names for its test images. What decoding loses is told by photographs that went through the autoencoder.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parents[1]))
from card import card
from command import HERE, WORK, read_command
from images import load_bank, photographs, shifted
from recipe.bank import Bank
from recipe.judging import decoded, paint_samples, ranked_first, share_right, sheet, spread
from recipe.loop import Loop
from settings import SEED, SETTINGS, SIDE_PX
from vocabulary import concepts

from dogfast.classifiers.backbones import build
from dogfast.classifiers.evidence import Evidence, collect_evidence
from dogfast.config import RunConfig
from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.engines.opening import open_networks
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, read_json, to_json, versions

RESULTS = HERE.parent / "results"
SETS = ("cifar10-test.tar", "tiny-imagenet32-val.tar")
PER_CONCEPT = 48
"""Samples, and at most as many photographs where the two are compared; the test set of Tiny ImageNet has 50."""


def train_judge(loop: Loop, bank: Bank, words: list[str], setting: dict) -> torch.nn.Module:
    torch.manual_seed(SEED + 1)
    model = build(setting["backbone"], words, [0.5] * 3, [0.25] * 3).to(loop.device, memory_format=torch.channels_last)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        rows = bank.draw(setting["batch"], generator)
        seen = (shifted(bank.images[rows], generator) / 2 + 0.5).to(memory_format=torch.channels_last)
        with loop.autocast():
            logits = model(seen)
        return F.cross_entropy(logits.float(), bank.labels[rows])

    return loop.optimise("judge", {"model": model}, loss_of_step, setting["steps"], setting["lr"])["model"]


def some_of_each(labels: Tensor, concepts_: int, count: int) -> Tensor:
    """Rows of the first ``count`` images of every concept."""
    return torch.cat([(labels == concept).nonzero()[:count, 0] for concept in range(concepts_)])


def among_own(logits: Tensor, labels: Tensor, ten: int) -> Tensor:
    """What is named first of the concepts of an image's own data set: which set it is of, sharpness alone can tell."""
    return torch.where(labels < ten, logits[:, :ten].argmax(1), ten + logits[:, ten:].argmax(1))


def by_set(shares: Tensor, ten: int) -> dict[str, float]:
    return {"cifar10": float(shares[:ten].mean()), "tiny_imagenet": float(shares[ten:].mean())}


def frechet(one: Tensor, other: Tensor) -> float:
    """|μ - ν|² + tr(A + B - 2 (A B)^½) of two sets of features (n, d) (Heusel et al. 2017, Eq. 6)."""
    means = [features.double().mean(0) for features in (one, other)]
    a, b = (features.double().T.cov().numpy() for features in (one, other))
    return float((means[0] - means[1]).square().sum()) + float(np.trace(a + b - 2 * sqrtm(a @ b).real))


def main() -> None:
    command = read_command()
    loop, device = command.loop, command.loop.device
    cifar, tiny = concepts()
    words = [each.names[0] for each in (*cifar, *tiny)]
    bank = load_bank(command.data, WORK / "bank.safetensors").to(device)
    judge = train_judge(loop, bank, words, SETTINGS[command.setting]["training"]["judge"])

    def look(images: Tensor) -> Evidence:
        return collect_evidence(judge, images, 500, device, "fp32")

    pipeline, config = Pipeline(ModelConfig(), str(command.folder)), RunConfig().synthesis
    networks = open_networks(pipeline, ModelConfig(backend="torch", device=device), Events(plain_lines(sys.stderr)))
    painted, seconds = paint_samples(pipeline, networks, words, PER_CONCEPT, config, SIDE_PX)
    images, labels = photographs(command.data, SETS)
    count, of_samples = len(words), torch.arange(len(words)).repeat_interleave(PER_CONCEPT)
    beside = some_of_each(labels, count, PER_CONCEPT)
    seen = {"samples": look(painted), "photographs": look(images), "decoded": look(decoded(networks, images[beside]))}
    ten, of_cifar = len(cifar), labels < len(cifar)
    shown = {"samples": of_samples, "photographs": labels, "decoded": labels[beside]}
    right = {name: share_right(seen[name].logits.argmax(1), each, count) for name, each in shown.items()}
    own = {name: share_right(among_own(seen[name].logits, each, ten), each, count) for name, each in shown.items()}
    zero_shot = ranked_first(pipeline, networks, words[:ten], images[of_cifar])
    features = {"samples": seen["samples"].features, "photographs": seen["photographs"].features[beside]}
    spreads = {name: spread(each, count) for name, each in features.items()}
    ratio = spreads["samples"] / spreads["photographs"]
    known = look(bank.images[some_of_each(bank.labels, count, PER_CONCEPT)]).features
    result = {
        "recognised": {name: by_set(each, ten) for name, each in right.items()},
        "recognised_among_own": {name: by_set(each, ten) for name, each in own.items()},
        "zero_shot_cifar10": float((zero_shot == labels[of_cifar]).float().mean()),
        "diversity": {"cifar10": float(ratio[:ten].mean()), "tiny_imagenet": float(ratio[ten:].mean())},
        "frechet": {
            "samples": frechet(features["samples"], features["photographs"]),
            "decoded": frechet(seen["decoded"].features, features["photographs"]),
            "photographs": frechet(known, features["photographs"]),
        },
        "per_concept": {
            word: {name: float(each[index]) for name, each in own.items()} | {"diversity": float(ratio[index])}
            for index, word in enumerate(words)
        },
        "samples_per_concept": PER_CONCEPT,
        "recipe": config.recipe,
        "painting_img_per_s": len(painted) / seconds,
        "model_revision": pipeline.revision,
        "training": read_json(loop.folder / "spent.json"),
        "judge": SETTINGS[command.setting]["training"]["judge"],
        "hardware": hardware(command.precision),
        "versions": versions(),
    }
    publish(RESULTS / "mini.json", to_json(result))
    publish(command.folder / "README.md", card(result))
    chosen = list(range(ten)) + list(range(ten, count, 4))
    rows = torch.cat([torch.arange(index * PER_CONCEPT, (index + 1) * PER_CONCEPT) for index in chosen])
    sheet(painted[rows], [words[index] for index in chosen]).save(RESULTS / "mini-samples.png")
    print({name: each for name, each in result.items() if name != "per_concept"})


if __name__ == "__main__":
    main()
