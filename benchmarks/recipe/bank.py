"""Images with the concept each shows, where they are trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bank:
    """``images``: uint8 (n, 3, H, W); ``labels``: int64 (n,), the concept of each; ``chances``: (n,), how often each is drawn."""

    images: Tensor
    labels: Tensor
    chances: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: str) -> "Bank":
        return Bank(self.images.to(device), self.labels.to(device), self.chances.to(device))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Rows of ``count`` images, drawn with replacement."""
        return torch.multinomial(self.chances, count, replacement=True, generator=generator)


def to_signed(images: Tensor) -> Tensor:
    """uint8 to float in [-1, 1]."""
    return images.float() / 127.5 - 1
