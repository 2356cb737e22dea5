"""A set of small images in memory."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch

from dogfast.run import digest


@dataclass(frozen=True)
class ImageSet:
    """Images uint8 (n, 3, H, W), labels int64 (n,) (-1 where there is no ID class), one stable key an image.

    ``facts``: what was read, in plain JSON types, for records.
    """

    images: torch.Tensor
    labels: torch.Tensor
    keys: tuple[str, ...]
    class_names: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.images.dtype == torch.uint8 and self.images.ndim == 4
        assert len(self.images) == len(self.labels) == len(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def digest(self) -> str:
        """SHA-256 over class names, keys and pixels."""
        return digest(self.class_names, self.keys, memoryview(self.images.contiguous().numpy()).cast("B"))

    def rows(self, rows: list[int]) -> ImageSet:
        """The images at ``rows``, in that order."""
        index = torch.as_tensor(rows, dtype=torch.long)
        keys = tuple(self.keys[i] for i in rows)
        return replace(self, images=self.images[index], labels=self.labels[index], keys=keys)

    def of_class(self, label: int) -> torch.Tensor:
        return self.images[self.labels == label]
