"""The CLIP towers: symmetric contrastive loss between images and prompts, every image of a concept a positive of its prompt."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from recipe.autoencoder import Vary
from recipe.bank import Bank, to_signed
from recipe.loop import Loop
from recipe.prompts import Prompts
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

from dogfast.concepts.embeddings import without_padding


@dataclass(frozen=True)
class Towers:
    """A text model, its projection to the shared space, and an image model with its own."""

    text: CLIPTextModel
    projection: nn.Linear
    vision: CLIPVisionModelWithProjection


def new_towers(tokenizer: CLIPTokenizer, text: Mapping[str, Any], vision: Mapping[str, Any]) -> Towers:
    special = dict(
        vocab_size=len(tokenizer),
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # On CPUs the bf16 backward pass of fused attention costs three times the plain one.
    texts = CLIPTextModel(CLIPTextConfig(**text, **special, attn_implementation="eager"))
    images = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision, attn_implementation="eager"))
    # Larger embeddings than the published initialisation: so small a tower otherwise stays at chance for a thousand steps.
    for weight, std in (
        (images.vision_model.embeddings.patch_embedding.weight, 0.1),
        (images.vision_model.embeddings.position_embedding.weight, 0.3),
        (texts.embeddings.token_embedding.weight, 0.3),
    ):
        nn.init.normal_(weight, std=std)
    return Towers(texts, nn.Linear(text["hidden_size"], text["projection_dim"], bias=False), images)


def train_clip(loop: Loop, bank: Bank, prompts: Prompts, vary: Vary, towers: Towers, setting: Mapping[str, Any]) -> Towers:
    """Train new ``towers`` on ``bank``.

    ``setting``: steps, batch, lr, max_logit_scale, and of the steps ``guided``, the share in which a plain classifier tells
    the image tower what to see (two untrained towers wait for each other), and ``sparse``, the share in which it sees half
    of every image's patches, which takes half the time (arXiv 2212.00794).
    """
    concepts = torch.arange(len(prompts.count), device=loop.device)
    tokens = without_padding(prompts.tokens, towers.text.config.eos_token_id)
    log_scale = nn.Parameter(torch.tensor(2.0))
    guide = nn.Linear(towers.projection.out_features, len(concepts))
    modules = {
        "text": towers.text,
        "projection": towers.projection,
        "vision": towers.vision,
        "guide": guide,
        "scale": nn.ParameterList([log_scale]),
    }
    modules = {name: module.to(loop.device) for name, module in modules.items()}

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        rows = bank.draw(setting["batch"], generator)
        labels = bank.labels[rows]
        sparse = step < setting["sparse"] * setting["steps"]
        with loop.autocast(), half_of_the_patches(towers.vision, generator) if sparse else nullcontext():
            projected = towers.vision(vary(bank.images[rows], generator)).image_embeds.float()
            pooled = towers.text(tokens[prompts.draw(concepts, generator)]).pooler_output
            prompt = F.normalize(towers.projection(pooled).float(), dim=1)
        logits = log_scale.exp().clamp(max=setting["max_logit_scale"]) * F.normalize(projected, dim=1) @ prompt.T
        positives = F.one_hot(labels, len(concepts)).float()
        present = positives.sum(0) > 0
        image_of_prompt = -(logits.log_softmax(0) * positives).sum(0)[present] / positives.sum(0)[present]
        loss = F.cross_entropy(logits, labels) + image_of_prompt.mean()
        return loss + F.cross_entropy(guide(projected), labels) if step < setting["guided"] * setting["steps"] else loss

    found = loop.optimise("clip", modules, loss_of_step, setting["steps"], setting["lr"])
    return Towers(found["text"], found["projection"], found["vision"])


@torch.no_grad()
def seen_by(loop: Loop, vision: CLIPVisionModelWithProjection, images: Tensor, side: int, batch: int = 256) -> Tensor:
    """What the last layer but one shows of uint8 images (n, 3, H, W), a token for each of ``side`` x ``side`` places: float16 (n, side², width).

    The last one shows of the places only what the class token still asks for.
    """
    parts = []
    for chunk in images.split(batch):
        with loop.autocast():
            tokens = vision(to_signed(chunk), output_hidden_states=True).hidden_states[-2][:, 1:].float()
        rows, places, width = tokens.shape
        grid = tokens.transpose(1, 2).reshape(rows, width, round(places**0.5), -1)
        parts.append(F.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2).half())
    return torch.cat(parts)


@contextmanager
def half_of_the_patches(vision: CLIPVisionModelWithProjection, generator: torch.Generator) -> Iterator[None]:
    """While it lasts the tower sees the class token and half of the patches of every image, drawn anew."""

    def thin(module: nn.Module, given: tuple, embedded: Tensor) -> Tensor:
        rows, tokens, width = embedded.shape
        chance = torch.rand(rows, tokens - 1, generator=generator, device=embedded.device)
        kept = 1 + chance.argsort(1)[:, : (tokens - 1) // 2]
        return torch.cat([embedded[:, :1], embedded.gather(1, kept[:, :, None].expand(-1, -1, width))], 1)

    handle = vision.vision_model.embeddings.register_forward_hook(thin)
    try:
        yield
    finally:
        handle.remove()
