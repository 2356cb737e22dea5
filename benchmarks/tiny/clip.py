"""The CLIP towers: symmetric contrastive loss between renders and prompts, every render of a word a positive of its prompt."""

import torch
from bank import vary
from loop import optimise
from settings import PROJECTION, SEED, TEMPLATES, TEXT, TEXT_WIDTH, TRAINING, VISION, WORDS
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection


def new_towers(tokenizer: CLIPTokenizer) -> tuple[CLIPTextModel, torch.nn.Linear, CLIPVisionModelWithProjection]:
    special = dict(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # On CPUs the bf16 backward pass of fused attention costs three times the plain one.
    text = CLIPTextModel(CLIPTextConfig(**TEXT, **special, attn_implementation="eager"))
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION, attn_implementation="eager"))
    # Larger embeddings than the published initialisation: so small a tower otherwise stays at chance for a thousand steps.
    for weight, std in (
        (vision.vision_model.embeddings.patch_embedding.weight, 0.1),
        (vision.vision_model.embeddings.position_embedding.weight, 0.3),
        (text.embeddings.token_embedding.weight, 0.3),
    ):
        torch.nn.init.normal_(weight, std=std)
    return text, torch.nn.Linear(TEXT_WIDTH, PROJECTION, bias=False), vision


def tokens_of(tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    return tokenizer(
        prompts, padding="max_length", truncation=True, max_length=TEXT["max_position_embeddings"], return_tensors="pt"
    )["input_ids"]


def train_clip(images: torch.Tensor, labels: torch.Tensor, tokenizer: CLIPTokenizer):
    """Train on uint8 (n, 3, H, W) and word indices (n,). Returns the text model, its projection and the image model."""
    setting = TRAINING["clip"]
    generator = torch.Generator().manual_seed(SEED)
    text, projection, vision = new_towers(tokenizer)
    tokens = torch.stack([tokens_of(tokenizer, [t.format(w) for w in WORDS]) for t in TEMPLATES])
    log_scale = torch.nn.Parameter(torch.tensor(2.0))
    guide = torch.nn.Linear(PROJECTION, len(WORDS))
    guided_steps = setting["steps"] // 2
    every_word = torch.arange(len(WORDS))

    def loss_of_step(step: int) -> torch.Tensor:
        rows = torch.randint(len(images), (setting["batch"],), generator=generator)
        template = torch.randint(len(TEMPLATES), (len(WORDS),), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            projected = vision(vary(images[rows], generator)).image_embeds.float()
            pooled = text(tokens[template, every_word]).pooler_output
            prompt = F.normalize(projection(pooled).float(), dim=1)
        image = F.normalize(projected, dim=1)
        logits = log_scale.exp().clamp(max=setting["max_logit_scale"]) * image @ prompt.T
        positives = F.one_hot(labels[rows], len(WORDS)).float()
        present = positives.sum(0) > 0
        image_of_prompt = -(logits.log_softmax(0) * positives).sum(0)[present] / positives.sum(0)[present]
        loss = F.cross_entropy(logits, labels[rows]) + image_of_prompt.mean()
        # Two untrained towers wait for each other; for the first half a plain classifier tells the image tower what to see.
        return loss + F.cross_entropy(guide(projected), labels[rows]) if step < guided_steps else loss

    parameters = [*text.parameters(), *projection.parameters(), *vision.parameters(), *guide.parameters(), log_scale]
    optimise("clip", parameters, loss_of_step, setting["steps"], setting["lr"])
    return text.eval(), projection.eval(), vision.eval()
