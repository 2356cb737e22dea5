"""The first stage: from ID images and class names to anchors and conditions on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save

from dogfast.concepts.anchors import FEWEST_ANCHORS, Verdict, choose_anchors, near_distances
from dogfast.concepts.candidates import choose_candidates, text_cosines
from dogfast.concepts.conditions import STRATEGIES, Findings
from dogfast.concepts.inversion import Inversion, Loss, invert
from dogfast.config import RunConfig
from dogfast.config.option import identity
from dogfast.data.catalogue import IdData, load_id
from dogfast.data.images import ImageSet
from dogfast.data.vocabulary import choose_vocabulary, load_vocabulary
from dogfast.diffusion.autoencoder import to_signed
from dogfast.diffusion.load import Pipeline, choose_model
from dogfast.diffusion.prompts import (
    encode_prompts,
    initial_rows,
    pseudo_words_in,
    token_table,
    tokenize,
    tokenize_pseudo_words,
)
from dogfast.engines.networks import Networks
from dogfast.engines.opening import open_networks
from dogfast.engines.table import DTYPES, ENCODER_ROWS
from dogfast.environment import choose_precision
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, file_digest, publish, read_jsonl, write_jsonl

ROWS = 256
RECOMPUTE_FROM = 32
"""Side in latents from which the UNet's activations are recomputed in the backward pass: 64 rows of 64 would fill 100 GB."""


def find_anchors(config: RunConfig, run: Run, events: Events) -> dict[str, object]:
    """Eq. 4 to 6 for every class of ``config.data``; writes `concepts/` and returns what `dogfast anchors` prints.

    Does nothing when the same stage was finished before. Raises RunMismatch when it was finished with other fields.
    """
    data = load_id(config.data)
    model = choose_model(config.model.model, config.data.classes)
    vocabulary = choose_vocabulary(config.concepts.vocabulary, config.data.classes)
    pipeline = Pipeline(config.model, model.value)
    run.claim("concepts", concepts_identity(config, data, pipeline, vocabulary.value), has_results=run.conditions.exists())
    if run.conditions.exists():
        return {"run": str(run.root), "anchors": _count(run), "resumed": True}
    events.say(f"generator {model.value}: {model.reason}")
    events.say(f"vocabulary {vocabulary.value}: {vocabulary.reason}")
    searched = load_vocabulary(vocabulary.value, data.class_names, config)
    words = searched.words
    networks = open_networks(pipeline, config.model, events)

    started = time.monotonic()
    inversion = invert_classes(config, data.train, pipeline, networks, events)
    publish(run.pseudo_words, save({"rows": inversion.rows}))
    verdicts, cosines, name_cosines = _search(config, data.train, pipeline, networks, words, inversion, events)
    anchors = _write_anchors(run, data.class_names, words, verdicts, cosines, events)
    findings = Findings(data.class_names, words, anchors, name_cosines, config.concepts.top_k, config.concepts.prompt)
    write_jsonl(run.conditions, [condition for choose in STRATEGIES.values() for condition in choose(findings)])
    return {
        "run": str(run.root),
        "anchors": len(anchors),
        "candidates": len(verdicts),
        "vocabulary": len(words),
        "left_out": searched.left_out,
        "inversion": {"steps": inversion.steps, "loss_before": inversion.loss_before, "loss_after": inversion.loss_after},
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
    words = Path(vocabulary)
    return fields | ({"vocabulary_file": file_digest(words)[:16]} if words.is_file() else {})


# --- Eq. 4 ------------------------------------------------------------------------------------------------------
def invert_classes(config: RunConfig, images: ImageSet, pipeline: Pipeline, networks: Networks, events: Events) -> Inversion:
    """Pseudo-words of all classes (Eq. 4). Gradients are needed, so UNet and text encoder are torch's on any backend."""
    settings, device = config.concepts, networks.device
    precision = choose_precision(config.model.precision, device).value
    rows = [
        r
        for y in range(len(images.class_names))
        for r in (images.labels == y).nonzero()[:, 0].tolist()[: settings.inversion_images]
    ]
    chosen = images.rows(rows)
    start = initial_rows(pipeline.tokenizer, token_table(pipeline.text_encoder), images.class_names)
    with events.progress("invert", settings.inversion_steps * settings.inversion_batch) as advance:
        return invert(
            _noise_loss(config, pipeline, device, precision, len(start)),
            start,
            _latents(pipeline, networks, chosen.images),
            chosen.labels,
            len(pipeline.alphas_cumprod),
            settings.inversion_steps,
            settings.inversion_batch,
            settings.inversion_lr,
            settings.concepts_seed,
            advance,
        )


def _latents(pipeline: Pipeline, networks: Networks, images: torch.Tensor) -> torch.Tensor:
    device, side_px = networks.device, pipeline.native_px
    return torch.cat([networks.encode(to_signed(chunk.to(device), side_px)).cpu() for chunk in images.split(ENCODER_ROWS)])


def _noise_loss(config: RunConfig, pipeline: Pipeline, device: str, precision: str, classes: int) -> Loss:
    """Eq. 4's error as a function of the pseudo-words; the UNet runs in ``precision``, the text encoder in fp32.

    In fp16 the gradients of a mean over so many latents vanish, so the UNet then runs in fp32.
    """
    dtype = torch.float32 if precision == "fp16" else DTYPES[precision]
    unet = deepcopy(pipeline.unet).to(device, dtype).to(memory_format=torch.channels_last)
    if unet.config.sample_size >= RECOMPUTE_FROM:
        unet.enable_gradient_checkpointing()
    if device == "cpu":
        _use_plain_attention(unet)
    encoder = deepcopy(pipeline.text_encoder).to(device)
    vocabulary_size = len(token_table(encoder))
    ids = tokenize_pseudo_words(pipeline.tokenizer, config.concepts.prompt, classes, vocabulary_size).to(device)
    projection = pipeline.text_projection.to(device)
    end, signal = pipeline.tokenizer.eos_token_id, pipeline.alphas_cumprod.float()

    def loss(
        rows: torch.Tensor, labels: torch.Tensor, latents: torch.Tensor, timesteps: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        present, places = labels.to(device).unique(return_inverse=True)
        with pseudo_words_in(encoder, rows.to(device)):
            states, _ = encode_prompts(encoder, projection, ids[present], end)
        a = signal[timesteps][:, None, None, None]
        noisy = (a.sqrt() * latents + (1 - a).sqrt() * noise).to(device, dtype)
        predicted = unet(noisy, timesteps.to(device), states.to(dtype)[places]).sample
        return (predicted.float() - noise.to(device)).square().mean()

    return loss


def _use_plain_attention(unet: torch.nn.Module) -> None:
    """On CPUs the bf16 backward pass of fused attention takes three times the plain one's time."""
    from diffusers.models.attention_processor import AttnProcessor

    unet.set_attn_processor(AttnProcessor())


# --- Eq. 5 and 6 ------------------------------------------------------------------------------------------------
def _search(
    config: RunConfig,
    images: ImageSet,
    pipeline: Pipeline,
    networks: Networks,
    words: tuple[str, ...],
    inversion: Inversion,
    events: Events,
) -> tuple[list[Verdict], torch.Tensor, torch.Tensor]:
    settings = config.concepts
    with events.progress("embed", len(words) + len(images)) as advance:
        names = embed_words(pipeline, networks, images.class_names, settings.prompt)
        vocabulary = embed_words(pipeline, networks, words, settings.prompt, advance)
        pictures = torch.cat([_advancing(networks.encode_image(chunk).cpu(), advance) for chunk in images.images.split(ROWS)])
    cosines = text_cosines(embed_pseudo_words(config, pipeline, inversion.rows), vocabulary)
    by_class = [pictures[images.labels == y] for y in range(len(images.class_names))]
    _warn_of_few(by_class, images.class_names, settings.eta, events)
    distances = torch.stack([near_distances(vocabulary, own, settings.eta) for own in by_class])
    bounds = torch.stack([near_distances(names[y : y + 1], own, settings.eta)[0] for y, own in enumerate(by_class)])
    verdicts = choose_anchors(
        distances, choose_candidates(cosines, settings.top_k), bounds, settings.anchor_quantile, settings.margin
    )
    return verdicts, cosines, text_cosines(names, vocabulary)


def embed_words(
    pipeline: Pipeline, networks: Networks, words: tuple[str, ...], prompt: str, advance: Callable[[int], None] = lambda n: None
) -> torch.Tensor:
    ids = tokenize(pipeline.tokenizer, [prompt.replace("{}", word) for word in words])
    chunks = [_without_padding(chunk, pipeline.tokenizer.eos_token_id) for chunk in ids.split(ROWS)]
    return torch.cat([_advancing(networks.encode_text(chunk)[1].cpu(), advance) for chunk in chunks])


def _without_padding(ids: torch.Tensor, end_id: int) -> torch.Tensor:
    """Ids up to the last first end token: attention is causal, so what follows changes no projected state, only costs time."""
    return ids[:, : int((ids == end_id).int().argmax(1).max()) + 1]


def _advancing(embedded: torch.Tensor, advance: Callable[[int], None]) -> torch.Tensor:
    advance(len(embedded))
    return embedded


@torch.no_grad()
def embed_pseudo_words(config: RunConfig, pipeline: Pipeline, rows: torch.Tensor) -> torch.Tensor:
    encoder = pipeline.text_encoder
    ids = tokenize_pseudo_words(pipeline.tokenizer, config.concepts.prompt, len(rows), len(token_table(encoder)))
    with pseudo_words_in(encoder, rows):
        return encode_prompts(encoder, pipeline.text_projection, ids, pipeline.end_id)[1]


def _warn_of_few(by_class: list[torch.Tensor], names: tuple[str, ...], eta: float, events: Events) -> None:
    few = [name for name, own in zip(names, by_class) if eta * len(own) <= 1]
    if few:
        events.say(f"warning: eta {eta:g} is the plain minimum for {len(few)} classes with few images ({', '.join(few[:5])})")


# --- files ------------------------------------------------------------------------------------------------------
def _write_anchors(
    run: Run,
    names: tuple[str, ...],
    words: tuple[str, ...],
    verdicts: list[Verdict],
    cosines: torch.Tensor,
    events: Events,
) -> list[dict]:
    rows = [_row(v, names, words, float(cosines[v.owner, v.word])) for v in verdicts]
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


def _row(verdict: Verdict, names: tuple[str, ...], words: tuple[str, ...], cosine: float) -> dict:
    facts = asdict(verdict)
    return {
        **facts,
        "word": words[verdict.word],
        "class_name": names[verdict.owner],
        "text_cosine": cosine,
        "kept": not verdict.reason,
    }


def _count(run: Run) -> int:
    return len(read_jsonl(run.anchors))
