"""The first stage: from ID images and class names to anchors and conditions on disk."""

from __future__ import annotations

import time
from dataclasses import asdict
from itertools import accumulate, pairwise
from pathlib import Path

import torch
from safetensors.torch import save
from torch.nn import functional as F

from dogfast.concepts.anchors import FEWEST_ANCHORS, Verdict, choose_anchors, near_distances
from dogfast.concepts.candidates import nearest_words
from dogfast.concepts.domain import check_domain
from dogfast.concepts.edited import read_edited
from dogfast.concepts.embeddings import Embedder
from dogfast.concepts.overlap import tell_of_overlap
from dogfast.concepts.pseudo_words import Checkpoint, invert_classes, tell_of_inversion
from dogfast.concepts.strategies import STRATEGIES, Findings
from dogfast.concepts.strategies.boundary import TABLE, boundary_points, word_rows
from dogfast.concepts.textmap import text_map
from dogfast.config import RunConfig
from dogfast.config.option import identity
from dogfast.data.catalogue import IdData, load_id
from dogfast.data.images import ImageSet
from dogfast.data.vocabulary import choose_vocabulary, load_vocabulary
from dogfast.diffusion.load import Pipeline, choose_model
from dogfast.diffusion.prompts import encode_pseudo_words, initial_rows, token_table
from dogfast.engines.opening import open_networks
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, digest, file_digest, publish, read_jsonl, write_jsonl
from dogfast.seeds import derive_seed


def find_anchors(config: RunConfig, run: Run, events: Events) -> dict[str, object]:
    """Eq. 4 to 6 for every class of ``config.data``; writes `concepts/` and returns what `dogfast anchors` prints.

    Does nothing when the same stage was finished before. Raises RunMismatch when it was finished with other fields.
    """
    data = load_id(config.data)
    # Words are learned and found with the model as it was trained; a LoRA only paints.
    config = config.with_values({"model": {"lora": ""}}, "anchors")
    model = choose_model(config.model.model, config.data.classes)
    vocabulary = choose_vocabulary(config.concepts.vocabulary, config.data.classes)
    pipeline = Pipeline(config.model, model.value)
    run.claim("concepts", concepts_identity(config, data, pipeline, vocabulary.value), has_results=run.conditions.exists())
    if run.conditions.exists():
        return {"run": str(run.root), "anchors": len(read_jsonl(run.anchors)), "resumed": True}
    started = time.monotonic()
    if config.concepts.anchors:
        anchors = read_edited(Path(config.concepts.anchors), data.class_names)
        write_jsonl(run.anchors, anchors)
        findings, told = Findings(data.class_names, anchors, config.concepts.prompt), {}
    else:
        events.say(f"generator {model.value}: {model.reason}")
        events.say(f"vocabulary {vocabulary.value}: {vocabulary.reason}")
        searched = load_vocabulary(vocabulary.value, data.class_names, config)
        for rule, count in searched.left_out.items():
            events.say(f"{count} words left out: {rule}")
        findings, told = _search(config, run, data, pipeline, searched.words, events)
        told |= {"vocabulary": len(searched.words), "left_out": searched.left_out}
    overlap = tell_of_overlap(findings.anchors, config, events)
    write_jsonl(run.conditions, [condition for choose in STRATEGIES.values() for condition in choose(findings)])
    return {
        "run": str(run.root),
        "anchors": len(findings.anchors),
        **told,
        "overlap": overlap,
        "seconds": time.monotonic() - started,
        "resumed": False,
    }


def concepts_identity(config: RunConfig, data: IdData, pipeline: Pipeline, vocabulary: str) -> dict[str, object]:
    """The fields and inputs this stage's result depends on."""
    fields = {
        **identity(config.data),
        **identity(config.model),
        **identity(config.concepts),
        "model": pipeline.name,
        "model_revision": pipeline.revision,
        "vocabulary": vocabulary,
        "id_data": data.train.digest[:16],
    }
    named = {
        "vocabulary_file": vocabulary,
        "block_list_file": config.concepts.block_list,
        "anchors_file": config.concepts.anchors,
    }
    return fields | {name: file_digest(Path(path))[:16] for name, path in named.items() if Path(path).is_file()}


# --- Eq. 4 to 6 -------------------------------------------------------------------------------------------------
def _search(
    config: RunConfig, run: Run, data: IdData, pipeline: Pipeline, words: tuple[str, ...], events: Events
) -> tuple[Findings, dict[str, object]]:
    settings, images = config.concepts, data.train
    networks = open_networks(pipeline, config.model, events)
    embedder = Embedder(pipeline, networks, settings.prompt, events)
    names, pictures = embedder.words(data.class_names), embedder.images(images)
    by_class = [(images.labels == y).nonzero()[:, 0] for y in range(len(data.class_names))]
    _warn_of_few([len(rows) for rows in by_class], data.class_names, settings.eta, events)
    known = check_domain(names, pictures, images.labels, events)
    queries, learned = _stand_ins(config, run, images, embedder, names, pictures)
    vocabulary = embedder.words(words)
    candidates = nearest_words(queries, vocabulary, settings.top_k)
    distances = torch.stack(
        [near_distances(vocabulary[candidates.words[y]], pictures[rows], settings.eta) for y, rows in enumerate(by_class)]
    )
    bounds = torch.stack([near_distances(names[y : y + 1], pictures[rows], settings.eta)[0] for y, rows in enumerate(by_class)])
    verdicts = choose_anchors(candidates, distances, bounds, settings)
    anchors = _write_anchors(run, data.class_names, words, verdicts, events)
    write_jsonl(run.text_map, text_map(data.class_names, names, queries, words, vocabulary, verdicts))
    nearest = nearest_words(names, vocabulary, settings.top_k).words
    findings = Findings(
        data.class_names,
        anchors,
        settings.prompt,
        near_names=[[words[word] for word in row] for row in nearest.tolist()],
        image_keys=[[images.keys[row] for row in rows.tolist()] for rows in by_class],
        boundary_rows=_write_boundary(config, run, pipeline, words, vocabulary, pictures, by_class),
        seed=settings.concepts_seed,
    )
    return findings, {"candidates": len(verdicts), "zero_shot_accuracy": known, **learned}


def _stand_ins(
    config: RunConfig, run: Run, images: ImageSet, embedder: Embedder, names: torch.Tensor, pictures: torch.Tensor
) -> tuple[torch.Tensor, dict[str, object]]:
    """What stands for each class in Eq. 5, (C, P), by --anchor-source, and what is told of how it was found."""
    source = config.concepts.anchor_source
    if source == "class-name":
        return names, {}
    if source == "clip-mean":
        return mean_embeddings(names, pictures, images.labels), {}
    pipeline, events = embedder.pipeline, embedder.events
    checkpoint = Checkpoint(run.concepts / "inversion.safetensors", digest(run.state["stages"]["concepts"]))
    inversion = invert_classes(config, images, pipeline, embedder.networks, events, checkpoint)
    publish(run.pseudo_words, save({"rows": inversion.rows}))
    checkpoint.remove()
    queries = encode_pseudo_words(pipeline, config.concepts.prompt, inversion.rows)[1]
    return queries, {"inversion": tell_of_inversion(inversion, queries, names, images.class_names, events)}


def _write_boundary(
    config: RunConfig,
    run: Run,
    pipeline: Pipeline,
    words: tuple[str, ...],
    vocabulary: torch.Tensor,
    pictures: torch.Tensor,
    by_class: list[torch.Tensor],
) -> list[list[int]]:
    """Write the table of boundary words; its rows by class."""
    seed = config.concepts.concepts_seed
    points = [boundary_points(pictures[rows], derive_seed("boundary", seed, y)) for y, rows in enumerate(by_class)]
    mean = sum(F.normalize(pictures[rows], dim=1).sum(0) for rows in by_class) / len(pictures)
    tokens = initial_rows(pipeline.tokenizer, token_table(pipeline.text_encoder), words)
    publish(run.table(TABLE), save({"rows": word_rows(torch.cat(points), mean, vocabulary, tokens)}))
    ends = list(accumulate(map(len, points), initial=0))
    return [list(range(start, end)) for start, end in pairwise(ends)]


def mean_embeddings(names: torch.Tensor, pictures: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Half a class's mean image, half its name, both of unit length: (C, P). Needs no inversion."""
    means = torch.stack([F.normalize(pictures[labels == y], dim=1).mean(0) for y in range(len(names))])
    return (F.normalize(means, dim=1) + F.normalize(names, dim=1)) / 2


def _warn_of_few(counts: list[int], names: tuple[str, ...], eta: float, events: Events) -> None:
    few = [name for name, count in zip(names, counts) if eta * count <= 1]
    if few:
        events.say(f"warning: eta {eta:g} is the plain minimum for {len(few)} classes with few images ({', '.join(few[:5])})")


# --- files ------------------------------------------------------------------------------------------------------
def _write_anchors(
    run: Run,
    names: tuple[str, ...],
    words: tuple[str, ...],
    verdicts: list[Verdict],
    events: Events,
) -> list[dict]:
    rows = [_row(verdict, names, words) for verdict in verdicts]
    anchors = [row for row in rows if row["kept"]]
    write_jsonl(run.candidates, rows)
    _tell_of_few(anchors, names, events)
    write_jsonl(run.anchors, anchors)
    return anchors


def _tell_of_few(anchors: list[dict], names: tuple[str, ...], events: Events) -> None:
    """Say which classes were topped up; :class:`DataError` when one has no anchor at all."""
    by_class = {name: [row for row in anchors if row["class_name"] == name] for name in names}
    bare = [name for name, found in by_class.items() if not found]
    if bare:
        raise DataError(
            f"no anchor was found for {', '.join(map(repr, bare[:5]))}: every candidate is nearer than the class's own name "
            "(concepts/candidates.jsonl); widen --vocabulary, raise --top-k, or lower --margin"
        )
    for name, found in by_class.items():
        added = [row["word"] for row in found if row["topped_up"]]
        if added:
            own = len(found) - len(added)
            events.say(
                f"note: {name!r} has {own} anchors of its own; the nearest above its bound were added: {', '.join(added)}"
            )
        if len(found) < FEWEST_ANCHORS:
            events.say(f"note: {name!r} has {len(found)} anchors only")


def _row(verdict: Verdict, names: tuple[str, ...], words: tuple[str, ...]) -> dict:
    said = {"word": words[verdict.word], "class_name": names[verdict.owner], "kept": not verdict.reason}
    return asdict(verdict) | said
