"""Textual inversion of all classes in the same passes against one class at a time: `python benchmarks/inversion.py`.

The peer has diffusers' published settings (its textual inversion example: 3,000 updates of 4 images one by one, AdamW with
weight decay 0.01, learning rate 5e-4 scaled by the 4 images), the same model, precision and start. Every class of `shapes`
bears its neighbour's name, for from the right name there is nothing to learn here. Loss: Eq. 4 on images and noises that
neither has seen. Writes benchmarks/results/inversion.json.
"""

import sys
import time
from itertools import combinations
from pathlib import Path

import torch

from dogfast.concepts.candidates import nearest_words
from dogfast.concepts.embeddings import Embedder
from dogfast.concepts.inversion import _draw, _evaluate, invert
from dogfast.concepts.pseudo_words import LONGEST, class_latents, noise_loss
from dogfast.config.presets import preset
from dogfast.data.catalogue import load_id
from dogfast.data.vocabulary import load_vocabulary
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import encode_pseudo_words, initial_rows, token_table
from dogfast.engines.opening import open_networks
from dogfast.environment import choose_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import publish, to_json, versions

RESULT = Path(__file__).parent / "results" / "inversion.json"
PEER_CLASSES = (0, 1, 2)
UPDATES, ACCUMULATED, PEER_LR, DECAY = 3000, 4, 5e-4 * 4, 1e-2
STEPS, HELD_OUT_ROWS, SHARE = 1000, 512, 0.95
"""Ours may take so many updates; the first look at which it has `SHARE` of the peer's drop is what counts."""
NEAREST = {"shapes": 12, "wordnet": 50}
"""K of Eq. 5 by vocabulary. The model knows the 36 words of its world; WordNet's nouns are strange to it, and show only how
far the queries lie apart in a crowd."""


def main() -> None:
    config, events = preset("shapes"), Events(plain_lines(sys.stderr))
    data, pipeline = load_id(config.data), Pipeline(config.model, "tiny")
    networks = open_networks(pipeline, config.model, events)
    precision = choose_precision("auto", "cpu").value
    names = data.class_names[1:] + data.class_names[:1]
    start = initial_rows(pipeline.tokenizer, token_table(pipeline.text_encoder), names)
    loss = noise_loss(config, pipeline, "cpu", precision, len(names))
    latents, labels = class_latents(config, data.train, pipeline, networks)
    unseen = class_latents(config, data.test, pipeline, networks)

    def held_out(rows: torch.Tensor, classes: tuple[int, ...]) -> float:
        return sum(_held_out(loss, rows, *unseen, y) for y in classes) / len(classes)

    longest = LONGEST * float(token_table(pipeline.text_encoder).norm(dim=1).mean())
    ours = _ours(config.concepts, loss, start, latents, labels, longest)
    peer_rows, peer_seconds = start.clone(), []
    for y in PEER_CLASSES:
        peer_rows[y], seconds = _one_class(loss, start, latents[labels == y], y)
        peer_seconds.append(seconds)
        events.say(f"one class alone: {seconds:.0f} s")
    before = held_out(start, PEER_CLASSES)
    wanted = before - SHARE * (before - held_out(peer_rows, PEER_CLASSES))
    looks = [{"update": step, "seconds": s, "loss": held_out(rows, PEER_CLASSES)} for step, s, rows in ours]
    reached = next((look for look in looks if look["loss"] <= wanted), None)
    classes, each = len(names), sum(peer_seconds) / len(peer_seconds)
    result = {
        "classes": classes,
        "peer_classes_measured": len(PEER_CLASSES),
        "loss_before": before,
        "loss_peer": held_out(peer_rows, PEER_CLASSES),
        "loss_wanted": wanted,
        "looks": looks,
        "peer_seconds_a_class": peer_seconds,
        "peer_rows": UPDATES * ACCUMULATED * classes,
        "reached": reached,
    }
    if reached:
        rows = reached["update"] * config.concepts.inversion_batch
        result |= {"rows": rows, "fewer_rows": result["peer_rows"] / rows, "less_time": each * classes / reached["seconds"]}
    embedder = Embedder(pipeline, networks, config.concepts.prompt, events)
    queries = {
        "learned": encode_pseudo_words(pipeline, config.concepts.prompt, ours[-1][2])[1],
        "wrong names": embedder.words(names),
        "true names": embedder.words(data.class_names),
    }
    result["nearest_words"] = {name: _shared(name, queries, embedder, data.class_names, config) for name in NEAREST}
    publish(RESULT, to_json(result | {"hardware": hardware(precision), "versions": versions()}))


def _ours(settings, loss, start, latents, labels, longest) -> list[tuple[int, float, torch.Tensor]]:
    """Update, seconds of learning so far, and best rows, at every look."""
    looks, began = [], time.monotonic()

    def keep(state: dict[str, torch.Tensor]) -> None:
        looks.append((int(state["step"]), time.monotonic() - began, state["best"].clone()))

    batch, lr = settings.inversion_batch, settings.inversion_lr
    invert(loss, start, latents, labels, 1000, STEPS, batch, lr, 0, longest=longest, keep=keep)
    return looks


def _one_class(loss, start: torch.Tensor, latents: torch.Tensor, y: int) -> tuple[torch.Tensor, float]:
    """The row of class ``y`` after diffusers' published settings, and the seconds they took."""
    row = start[y].clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([row], lr=PEER_LR, weight_decay=DECAY)
    generator = torch.Generator().manual_seed(y)
    label, began = torch.tensor([y]), time.monotonic()
    for _ in range(UPDATES):
        for _ in range(ACCUMULATED):
            image = torch.randint(len(latents), (1,), generator=generator)
            timestep = torch.randint(1000, (1,), generator=generator)
            noise = torch.randn(latents[image].shape, generator=generator)
            rows = torch.cat([start[:y], row[None], start[y + 1 :]])
            (loss(rows, label, latents[image], timestep, noise) / ACCUMULATED).backward()
        optimizer.step()
        optimizer.zero_grad()
    return row.detach(), time.monotonic() - began


def _held_out(loss, rows, latents, labels, y: int) -> float:
    generator = torch.Generator().manual_seed(10_000 + y)
    mine = labels == y
    return _evaluate(loss, rows, _draw(latents[mine], labels[mine], 1000, HELD_OUT_ROWS, generator), 128)


def _shared(vocabulary: str, queries: dict[str, torch.Tensor], embedder: Embedder, classes, config) -> dict[str, float]:
    """Share of Eq. 5's nearest words that two of the ``queries`` have in common, over the classes."""
    words, top_k = embedder.words(load_vocabulary(vocabulary, classes, config).words), NEAREST[vocabulary]
    near = {name: nearest_words(query, words, top_k).words.tolist() for name, query in queries.items()}
    shared = {
        f"{one}, {other}": sum(len(set(a) & set(b)) for a, b in zip(near[one], near[other])) / (top_k * len(classes))
        for one, other in combinations(near, 2)
    }
    return {"k": top_k, "words": len(words)} | shared


if __name__ == "__main__":
    main()
