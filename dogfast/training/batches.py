"""The images of every step: reshuffled ID images beside cycling outliers, augmented where they lie.

Order and augmentation are functions of seed, epoch and step, so a resumed training sees what it would have seen, and each
of several processes sees its rows of what one alone would see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from dogfast.data.augment import Draws, to_unit
from dogfast.errors import UsageError
from dogfast.seeds import stream
from dogfast.training.objective import Objective
from dogfast.training.ranks import ALONE, Ranks
from dogfast.training.regimes import Regime

RESIDENT_SHARE = 1 / 3
"""Of a GPU's free memory, what ID images, and then outliers, may take up; more of them stay in the machine's memory."""


@dataclass(frozen=True)
class Batch:
    """One step's images on the device: ID float in [0, 1] (n, 3, H, W) with labels (n,), outliers (m, ...) of images or latents.

    An objective that augments in its own way may have put several views of each image into ``id_images``.
    """

    id_images: Tensor
    id_labels: Tensor
    outliers: Tensor | None = None

    @property
    def joint(self) -> Tensor:
        """ID images, then outlier images: (n + m, 3, H, W)."""
        assert self.outliers is not None
        return torch.cat([self.id_images, self.outliers])

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The ID part and the outlier part of what a forward of :attr:`joint` gave."""
        return rows[: len(self.id_images)], rows[len(self.id_images) :]

    def parts(self, count: int) -> list[Batch]:
        """``count`` batches of as many images each."""
        outliers = [None] * count if self.outliers is None else self.outliers.chunk(count)
        return [Batch(*part) for part in zip(self.id_images.chunk(count), self.id_labels.chunk(count), outliers)]


class Outliers(Protocol):
    """An endless row of outliers, uint8 (3, H, W) or float16 latents (C, h, w) each."""

    def take(self, count: int, rows: slice = slice(None)) -> Tensor:
        """The ``rows`` of the next ``count``."""
        ...

    @property
    def position(self) -> dict[str, Any]:
        """Where in the row it stands, in JSON types."""
        ...

    def seek(self, position: dict[str, Any]) -> None: ...

    def close(self) -> None:
        """End what goes on in the background."""
        ...


class Held:
    """Outliers in memory: every one is shown once before any is shown again.

    Where they are latents (m, C, h, w), ``id_latents`` (k, C, h, w) are those of the first k ID images.
    """

    def __init__(self, rows: Tensor, *seed: Any, id_latents: Tensor | None = None):
        self.rows, self.seed, self.taken, self.id_latents = rows, seed, 0, id_latents
        self._orders: dict[int, Tensor] = {}

    def take(self, count: int, rows: slice = slice(None)) -> Tensor:
        places = torch.arange(self.taken, self.taken + count)[rows]
        self.taken += count
        cycles = places // len(self.rows)
        index = torch.cat([self._order(c)[places[cycles == c] % len(self.rows)] for c in cycles.unique().tolist()])
        return self.rows[index.to(self.rows.device)]

    def _order(self, cycle: int) -> Tensor:
        if cycle not in self._orders:
            self._orders = {kept: order for kept, order in self._orders.items() if kept == cycle - 1}
            self._orders[cycle] = torch.randperm(len(self.rows), generator=stream(*self.seed, cycle))
        return self._orders[cycle]

    @property
    def position(self) -> dict[str, Any]:
        return {"taken": self.taken}

    def seek(self, position: dict[str, Any]) -> None:
        self.taken = int(position["taken"])

    def close(self) -> None:
        """Nothing goes on in the background."""


class Batches:
    """``steps`` batches an epoch; an incomplete last ID batch is dropped, and a set smaller than one batch makes one batch."""

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        outliers: Outliers | None,
        regime: Regime,
        objective: Objective,
        seed: int,
        device: torch.device,
        ranks: Ranks = ALONE,
        parts: int = 1,
    ):
        """``images``: uint8 (n, 3, H, W); ``labels``: int64 (n,). Raises UsageError where a batch is not to be shared out."""
        self.device, self.ranks, self.seed, self.objective = device, ranks, seed, objective
        self.images, self.labels = _near(images, device), labels.to(device)
        self.outliers, self.focus = outliers, None
        if isinstance(outliers, Held):
            outliers.rows = _near(outliers.rows, device)
        self.size = _shared(min(regime.batch, len(images)), ranks, parts, "--batch", whole=len(images) >= regime.batch)
        self.ood_size = 0 if outliers is None else _shared(regime.ood_batch, ranks, parts, "--ood-batch", whole=True)
        self.steps = len(images) // self.size
        self.passes = self.size + self.ood_size

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of ``epoch`` from its step ``first`` on."""
        order = torch.randperm(len(self.images), generator=stream(self.seed, "order", epoch))[: self.steps * self.size]
        for step, index in enumerate(order.split(self.size)[first:], epoch * self.steps + first):
            mine = index[self.ranks.rows(self.size)]
            draws = Draws(stream(self.seed, "augmentation", step), self.size, self.ranks.rows(self.size))
            images = self.objective.augment(self._images(mine), draws)
            yield Batch(images, self.labels[mine.to(self.device)], self._outliers(step))

    def id_chunks(self, size: int, at_most: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Every ID image as it is, float in [0, 1], with its label, ``size`` at a time; where there are more than ``at_most``, so many
        of them, drawn from all."""
        rows = torch.arange(len(self.images))
        if at_most is not None and at_most < len(rows):
            rows = torch.randperm(len(rows), generator=stream(self.seed, "some ID images"))[:at_most]
        for index in rows.split(size):
            yield to_unit(self._images(index)), self.labels[index.to(self.device)]

    def latent_chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Every ID image that has latents, as it is, float in [0, 1], with these, ``size`` at a time."""
        assert isinstance(self.outliers, Held) and self.outliers.id_latents is not None
        for index in torch.arange(len(self.outliers.id_latents)).split(size):
            yield to_unit(self._images(index)), self.outliers.id_latents[index].to(self.device)

    def take_outliers(self, count: int) -> Tensor:
        """The next ``count`` outliers as they are, on the device."""
        assert self.outliers is not None
        return self.outliers.take(count).to(self.device)

    def focus_on(self, rows: Tensor, epoch: int) -> None:
        """Let ``epoch`` draw its outliers from ``rows`` alone."""
        self.focus = Held(rows, self.seed, "focus", epoch)

    def _images(self, index: Tensor) -> Tensor:
        return _brought(self.images[index.to(self.images.device)], self.device)

    def _outliers(self, step: int) -> Tensor | None:
        if self.outliers is None:
            return None
        rows = self.ranks.rows(self.ood_size)
        taken = _brought((self.focus or self.outliers).take(self.ood_size, rows), self.device)
        if taken.dtype != torch.uint8:
            return taken.float()
        return self.objective.augment(taken, Draws(stream(self.seed, "outlier augmentation", step), self.ood_size, rows))


def _near(images: Tensor, device: torch.device) -> Tensor:
    """``images`` on ``device`` where they fit into it, else where they are."""
    if device.type == "cuda" and images.nbytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return images
    return images.to(device)


def _brought(rows: Tensor, device: torch.device) -> Tensor:
    """``rows`` on ``device``; from the machine's memory to a GPU without anybody waiting."""
    waits = device.type == "cuda" and rows.device.type == "cpu"
    return (rows.pin_memory() if waits else rows).to(device, non_blocking=True)


def _shared(size: int, ranks: Ranks, parts: int, flag: str, whole: bool) -> int:
    """``size``, which processes and parts must divide; a set smaller than a batch gives up what cannot be shared out."""
    unit = ranks.count * parts
    if not whole and size >= unit:
        return size // unit * unit
    if size % unit or size < unit:
        raise UsageError(
            f"{flag} {size} cannot be shared out evenly to {ranks.count} processes x --accumulate {parts}; choose a multiple of {unit}"
        )
    return size
