"""Pseudo-words of the ID classes on disk: Eq. 4 in the real networks, gone on with after a kill, and judged at the end."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.nn import functional as F

from dogfast.concepts.inversion import Inversion, Loss, State, invert
from dogfast.config import RunConfig
from dogfast.data.images import ImageSet
from dogfast.diffusion.autoencoder import to_signed
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import encode_prompts, initial_rows, pseudo_words_in, token_table, tokenize_pseudo_words
from dogfast.engines.networks import Networks
from dogfast.engines.table import DTYPES, ENCODER_ROWS
from dogfast.environment import choose_precision
from dogfast.events import Events
from dogfast.run import publish

RECOMPUTE_FROM = 32
"""Side in latents from which the UNet's activations are recomputed in the backward pass: 64 rows of 64 would fill 100 GB."""
LONGEST = 3.0
"""Length of a pseudo-word, as a multiple of the mean token embedding's."""
LEAST_COSINE = 0.6
"""To the class's own name in the text space; below it Eq. 5's neighbours may be arbitrary."""


class Checkpoint:
    """Where inversion leaves its state at every look, for one ``identity`` of settings and data."""

    def __init__(self, path: Path, identity: str):
        self.path, self.identity = path, identity

    def keep(self, state: State) -> None:
        publish(self.path, save(state, {"identity": self.identity}))

    def kept(self) -> State | None:
        """The state; None where there is none, or one of other settings or data."""
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, "pt") as file:
                if (file.metadata() or {}).get("identity") != self.identity:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}
        except (SafetensorError, OSError):
            return None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def invert_classes(
    config: RunConfig, images: ImageSet, pipeline: Pipeline, networks: Networks, events: Events, checkpoint: Checkpoint
) -> Inversion:
    """Pseudo-words of all classes (Eq. 4). Gradients are needed, so UNet and text encoder are torch's on any backend."""
    settings, device = config.concepts, networks.device
    precision = choose_precision(config.model.precision, device).value
    table = token_table(pipeline.text_encoder)
    start = initial_rows(pipeline.tokenizer, table, images.class_names)
    kept = checkpoint.kept()
    if kept:
        events.say(f"inversion goes on at update {float(kept['step']):.0f}")
    with events.progress("invert", settings.inversion_steps * settings.inversion_batch) as advance:
        return invert(
            noise_loss(config, pipeline, device, precision, len(start)),
            start,
            *class_latents(config, images, pipeline, networks),
            len(pipeline.alphas_cumprod),
            settings.inversion_steps,
            settings.inversion_batch,
            settings.inversion_lr,
            settings.concepts_seed,
            advance,
            LONGEST * float(table.norm(dim=1).mean()),
            kept,
            checkpoint.keep,
        )


def tell_of_inversion(
    inversion: Inversion, queries: torch.Tensor, names: torch.Tensor, class_names: tuple[str, ...], events: Events
) -> dict[str, object]:
    """What was learned, with each class's cosine of T(s_y) to T(y); a warning names classes below `LEAST_COSINE`."""
    cosines = F.cosine_similarity(queries, names).tolist()
    far = [f"{name} {cosine:.2f}" for name, cosine in zip(class_names, cosines) if cosine < LEAST_COSINE]
    if far:
        events.say(
            f"warning: {len(far)} pseudo-words are far from their class's name ({', '.join(far[:5])}): misnamed classes, "
            "or too high an --inversion-lr"
        )
    losses = {"loss_before": inversion.loss_before, "loss_after": inversion.loss_after}
    return {"steps": inversion.steps, **losses, "cosine_to_name": min(cosines)}


def class_latents(
    config: RunConfig, images: ImageSet, pipeline: Pipeline, networks: Networks
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (n, 4, h, w) and labels (n,) of at most --inversion-images of every class: encoded once, not at every update."""
    rows = [
        row
        for y in range(len(images.class_names))
        for row in (images.labels == y).nonzero()[:, 0].tolist()[: config.concepts.inversion_images]
    ]
    chosen, device, side_px = images.rows(rows), networks.device, pipeline.native_px
    chunks = chosen.images.split(ENCODER_ROWS)
    return torch.cat([networks.encode(to_signed(each.to(device), side_px)).cpu() for each in chunks]), chosen.labels


def noise_loss(config: RunConfig, pipeline: Pipeline, device: str, precision: str, classes: int) -> Loss:
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
