"""What CLIP thinks near: the image tower and the text projection learn the distances of the figures themselves.

Contrast alone leaves the order of the wrong words to chance, while in CLIP trained on the world's pictures what looks alike
lies close. Here the cosine of an image or a prompt to the prompt of another word is drawn to a learned constant minus
`shapes.distance` of the two words; the contrastive loss goes on beside it. The text tower stays as it is, for the UNet is
trained on what it says.
"""

import torch
from bank import vary
from recipe.bank import Bank
from recipe.loop import Loop
from recipe.prompts import Prompts
from settings import TRAINING, WORDS
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

from dogfast.data import shapes


def align(
    loop: Loop, bank: Bank, prompts: Prompts, pooled: Tensor, projection: nn.Linear, vision: CLIPVisionModelWithProjection
) -> None:
    """Train ``projection`` and ``vision`` in place; ``pooled``: what the text tower says of every prompt (p, width)."""
    setting = TRAINING["alignment"]
    every_word = torch.arange(len(WORDS))
    distances = torch.tensor([[shapes.distance(a, b) for b in WORDS] for a in WORDS])
    constants = nn.ParameterList(nn.Parameter(torch.tensor(0.9)) for _ in ("of images", "of prompts"))

    def loss_against(prompt: Tensor, shown: Tensor, words: Tensor, constant: Tensor) -> Tensor:
        cosines = shown @ prompt.T
        others = every_word != words[:, None]
        error = (cosines - (constant - distances[words])) * others
        return F.cross_entropy(setting["logit_scale"] * cosines, words) + setting["weight"] * error.square().mean()

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        def prompt() -> Tensor:
            return F.normalize(projection(pooled[prompts.draw(every_word, generator)]), dim=1)

        rows = bank.draw(setting["batch"], generator)
        with loop.autocast():
            projected = vision(vary(bank.images[rows], generator)).image_embeds.float()
        known = prompt()
        loss = loss_against(known, F.normalize(projected, dim=1), bank.labels[rows], constants[0])
        return loss + loss_against(known, prompt(), every_word, constants[1])

    modules = {"projection": projection, "vision": vision, "constants": constants}
    loop.optimise("alignment", modules, loss_of_step, setting["steps"], setting["lr"])
