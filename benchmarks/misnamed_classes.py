"""What textual inversion is worth where names mislead: `python benchmarks/misnamed_classes.py`.

Every class of `shapes` bears its neighbour's name. Compared with the candidates (Eq. 5) of the true names: those of the
wrong names, and those of the pseudo-words learned from the pictures, starting at the wrong names (Eq. 4). It ends there:
the bound of Eq. 6 goes by the name. Writes benchmarks/results/misnamed-classes.json.
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F

from dogfast.concepts.candidates import nearest_words
from dogfast.concepts.embeddings import Embedder
from dogfast.concepts.pseudo_words import Checkpoint, invert_classes
from dogfast.config.presets import preset
from dogfast.data.catalogue import load_id
from dogfast.data.vocabulary import load_vocabulary
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import encode_pseudo_words
from dogfast.engines.opening import open_networks
from dogfast.environment import hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, to_json, versions

RESULT = Path(__file__).parent / "results" / "misnamed-classes.json"
SEEDS = (0, 1, 2)
CHECKPOINT = Path("build") / "misnamed-classes.safetensors"


def main() -> None:
    config, events = preset("shapes"), Events(plain_lines(sys.stderr))
    data, pipeline = load_id(config.data), Pipeline(config.model, "tiny")
    networks, top_k = open_networks(pipeline, config.model, events), config.concepts.top_k
    embedder = Embedder(pipeline, networks, config.concepts.prompt, events)
    vocabulary = embedder.words(load_vocabulary("shapes", data.class_names, config).words)
    unseen, names = embedder.images(data.test), embedder.words(data.class_names)
    misnamed = replace(data.train, class_names=data.class_names[1:] + data.class_names[:1])
    true = _members(names, vocabulary, top_k)

    def judge(words: torch.Tensor) -> dict[str, float]:
        shared = (_members(words, vocabulary, top_k) & true).sum(1) / top_k
        return {
            "candidates_shared": float(shared.mean()),
            "cosine_to_own_pictures": _closeness(words, unseen, data.test.labels),
        }

    learned = []
    for seed in SEEDS:
        seeded = config.with_values({"concepts": {"concepts_seed": seed}}, "benchmark")
        found = invert_classes(seeded, misnamed, pipeline, networks, events, Checkpoint(CHECKPOINT, f"seed {seed}"))
        losses = {"seed": seed, "loss_before": found.loss_before, "loss_after": found.loss_after}
        learned.append(losses | judge(encode_pseudo_words(pipeline, config.concepts.prompt, found.rows)[1]))
    result = {
        "true_names": judge(names),
        "wrong_names": judge(embedder.words(misnamed.class_names)),
        "learned_from_wrong_names": learned,
        "steps": config.concepts.inversion_steps,
        "top_k": top_k,
        "words": len(vocabulary),
        "candidates_shared_by_chance": top_k / len(vocabulary),
        "hardware": hardware(networks.precision),
        "versions": versions(),
    }
    publish(RESULT, to_json(result))


def _members(queries: torch.Tensor, vocabulary: torch.Tensor, top_k: int) -> torch.Tensor:
    """Which words are candidates of each class: bool (C, W)."""
    members = torch.zeros(len(queries), len(vocabulary), dtype=torch.bool)
    return members.scatter_(1, nearest_words(queries, vocabulary, top_k).words, True)


def _closeness(words: torch.Tensor, pictures: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean cosine of each class's word (C, P) to its pictures (n, P)."""
    return float((F.normalize(pictures, dim=1) * F.normalize(words, dim=1)[labels]).sum(1).mean())


if __name__ == "__main__":
    main()
