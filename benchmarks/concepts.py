"""Eq. 5 and 6 at their real size: `python benchmarks/concepts.py`.

All nouns of WordNet and as many images as CIFAR-10's training set has, through CLIP towers of Stable Diffusion v1.5's size
(random weights: for time, not for meaning). The towers are timed on a sample, the matrix part whole. Writes
benchmarks/results/concepts.json.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from timing import interleaved

from dogfast.concepts.anchors import choose_anchors, near_distances
from dogfast.concepts.candidates import nearest_words
from dogfast.config.concepts import ConceptsConfig
from dogfast.config.model import ModelConfig
from dogfast.data.nouns import frozen_nouns
from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.examples import example_inputs
from dogfast.engines.opening import open_networks
from dogfast.engines.table import ENCODER_ROWS, NETWORKS, SHORT_TOKENS
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, to_json, versions

RESULT = Path(__file__).parent / "results" / "concepts.json"
CLASSES, IMAGES, IMAGE_PX, WIDTH = 10, 50_000, 32, 768
SAMPLE_WORDS, SAMPLE_IMAGES, ROUNDS = 512, 32, 3
CHECKED = 50
"""Words and images a class that brute force in float64 is compared on."""


def main() -> None:
    settings, words = ConceptsConfig(), len(frozen_nouns().senses)
    generator = torch.Generator().manual_seed(0)
    texts, pictures = torch.randn(words, WIDTH, generator=generator), torch.randn(IMAGES, WIDTH, generator=generator)
    queries, names = torch.randn(2, CLASSES, WIDTH, generator=generator)
    by_class = pictures.view(CLASSES, -1, WIDTH)
    before = peak_bytes()
    candidates, eq5_s = answered(lambda: nearest_words(queries, texts, settings.top_k))
    (distances, bounds), eq6_s = answered(
        lambda: (
            torch.stack([near_distances(texts[candidates.words[y]], own, settings.eta) for y, own in enumerate(by_class)]),
            torch.stack([near_distances(names[y : y + 1], own, settings.eta)[0] for y, own in enumerate(by_class)]),
        )
    )
    verdicts, choice_s = answered(lambda: choose_anchors(candidates, distances, bounds, settings))
    whole, all_words_s = answered(lambda: torch.stack([near_distances(texts, own, settings.eta) for own in by_class]))
    beyond = peak_bytes() - before  # before the towers: whole networks are in memory from there on
    result = {
        "words": words,
        "images": IMAGES,
        "classes": CLASSES,
        **tower_rates(Events(plain_lines(sys.stderr))),
        "eq5_s": eq5_s,
        "eq6_s": eq6_s,
        "choice_s": choice_s,
        "verdicts": len(verdicts),
        "eq6_of_every_word_s": all_words_s,
        "matrix_tflop": 2 * words * IMAGES * WIDTH / 1e12,
        "inputs_gib": 4 * (texts.numel() + pictures.numel()) / 2**30,
        "memory_beyond_inputs_gib": beyond / 2**30,
        "largest_difference_to_brute_force": difference(texts, by_class, whole, settings.eta),
    }
    publish(RESULT, to_json(result | {"hardware": hardware("fp32"), "versions": versions()}))


def tower_rates(events: Events) -> dict[str, object]:
    """Words and images a second through the towers that a run would use here."""
    pipeline = RandomPipeline()
    networks = open_networks(pipeline, ModelConfig(), events)
    (ids,) = example_inputs(pipeline, NETWORKS["text_encoder"], ((SAMPLE_WORDS, SHORT_TOKENS),))
    images = torch.randint(0, 256, (SAMPLE_IMAGES, 3, IMAGE_PX, IMAGE_PX), dtype=torch.uint8)
    calls = {"words": lambda: networks.encode_text(ids), "images": lambda: networks.encode_image(images)}
    seconds = interleaved(calls, ROUNDS)
    return {
        "backend": networks.backend,
        "rows": ENCODER_ROWS,
        "tokens": SHORT_TOKENS,
        "words_a_s": SAMPLE_WORDS / median(seconds["words"]),
        "images_a_s": SAMPLE_IMAGES / median(seconds["images"]),
    }


def difference(texts: torch.Tensor, by_class: torch.Tensor, found: torch.Tensor, eta: float) -> float:
    """The largest difference of Eq. 6's distances to sorting all of them in float64, on the first words."""
    unit = [torch.nn.functional.normalize(each.double(), dim=-1) for each in (texts[:CHECKED], by_class)]
    rank = -(-by_class.shape[1] * round(eta * 1000) // 1000)
    exact = (1 - torch.einsum("wp,cnp->cwn", *unit)).sort(dim=2).values[:, :, rank - 1]
    return float((exact - found[:, :CHECKED].double()).abs().max())


def answered(call: Callable[[], object]) -> tuple[object, float]:
    """What ``call`` gives, and the seconds it takes."""
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


def peak_bytes() -> int:
    """The most memory this process ever held."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
