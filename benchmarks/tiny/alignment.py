"""What CLIP thinks near: the image tower and the text projection learn the distances of the figures themselves.

Contrast alone leaves the order of the wrong words to chance, while in CLIP trained on the world's pictures what looks alike
lies close. Here the cosine of an image or a prompt to the prompt of another word is drawn to a learned constant minus
`shapes.distance` of the two words; the contrastive loss goes on beside it. The text tower stays as it is, for the UNet is
trained on what it says.
"""

import torch
from bank import vary
from clip import tokens_of
from loop import optimise
from settings import SEED, TEMPLATES, TRAINING, WORDS
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer, CLIPVisionModelWithProjection

from dogfast.data import shapes


@torch.no_grad()
def pooled_prompts(text: CLIPTextModel, tokenizer: CLIPTokenizer) -> torch.Tensor:
    """What the text tower says of every word in every template, before the projection: float (templates, words, width)."""
    return torch.stack([text(tokens_of(tokenizer, [t.format(w) for w in WORDS])).pooler_output for t in TEMPLATES])


def align(
    images: torch.Tensor,
    labels: torch.Tensor,
    pooled: torch.Tensor,
    projection: torch.nn.Linear,
    vision: CLIPVisionModelWithProjection,
) -> None:
    """Train ``projection`` and ``vision`` in place on uint8 (n, 3, H, W) and word indices (n,)."""
    setting = TRAINING["alignment"]
    generator = torch.Generator().manual_seed(SEED)
    every_word = torch.arange(len(WORDS))
    distances = torch.tensor([[shapes.distance(a, b) for b in WORDS] for a in WORDS])
    of_image, of_prompt = (torch.nn.Parameter(torch.tensor(0.9)) for _ in range(2))

    def prompts() -> torch.Tensor:
        template = torch.randint(len(TEMPLATES), (len(WORDS),), generator=generator)
        return F.normalize(projection(pooled[template, every_word]), dim=1)

    def loss_against(prompt: torch.Tensor, shown: torch.Tensor, words: torch.Tensor, constant: torch.Tensor) -> torch.Tensor:
        cosines = shown @ prompt.T
        others = every_word != words[:, None]
        error = (cosines - (constant - distances[words])) * others
        return F.cross_entropy(setting["logit_scale"] * cosines, words) + setting["weight"] * error.square().mean()

    def loss_of_step(step: int) -> torch.Tensor:
        rows = torch.randint(len(images), (setting["batch"],), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            projected = vision(vary(images[rows], generator)).image_embeds.float()
        prompt = prompts()
        loss = loss_against(prompt, F.normalize(projected, dim=1), labels[rows], of_image)
        return loss + loss_against(prompt, prompts(), every_word, of_prompt)

    parameters = [*projection.parameters(), *vision.train().parameters(), of_image, of_prompt]
    optimise("alignment", parameters, loss_of_step, setting["steps"], setting["lr"])
    vision.eval()
