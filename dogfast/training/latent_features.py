"""h: latents of the generator's VAE to the features that a classifier would see in their pictures, without decoding them.

h is fitted on ID images, whose latents and features are both known, and then frozen. ``r2`` says what it is worth: the share
of the features' variance it explains on a tenth of these images that it was not fitted on. Of painted latents the true
features are unknown, and h goes beyond what it was fitted on there: ``r2`` is the best to be hoped for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from dogfast.errors import DataError
from dogfast.seeds import stream
from dogfast.training.optimizers import cosine, set_lr

WIDTH, MOST_WIDTH = 64, 256
LEAST_SIDE = 4
"""Positions a side below which nothing is halved any more."""
GROUPS = 8
EPOCHS, BATCH, LR = 30, 64, 2e-3
JUDGED = 10
"""One ID image in so many judges h and is not fitted on."""


class LatentFeatures(nn.Module):
    """h: latents (n, C, h, w) of ``shape`` to features (n, ``width``), no lower than the lowest it was fitted on.

    Convolutions of stride 2, a mean over positions and a linear layer; so behind a ReLU features are not negative.
    """

    mean: Tensor
    scale: Tensor
    floor: Tensor
    r2: Tensor

    def __init__(self, shape: tuple[int, int, int], width: int):
        super().__init__()
        channels, side = shape[0], min(shape[1:])
        layers, hidden = _convolution(channels, WIDTH, stride=1), WIDTH
        while side > LEAST_SIDE:
            wider = min(2 * hidden, MOST_WIDTH)
            layers += _convolution(hidden, wider, stride=2)
            hidden, side = wider, -(-side // 2)
        self.body = nn.Sequential(*layers, *_convolution(hidden, hidden, stride=2))
        self.head = nn.Linear(hidden, width)
        self.register_buffer("mean", torch.zeros(width))
        for name in ("scale", "floor", "r2"):
            self.register_buffer(name, torch.zeros(()))

    def forward(self, latents: Tensor) -> Tensor:
        """In the precision of its own weights."""
        return (self.mean + self.scale * self._standard(latents)).clamp(min=self.floor)

    def _standard(self, latents: Tensor) -> Tensor:
        return self.head(self.body(latents.to(self.mean.dtype)).mean((2, 3)))

    def fit(self, latents: Tensor, features: Tensor, seed: int) -> None:
        """Fit to ``latents`` (n, C, h, w) with their ``features`` (n, width) by Adam, and judge it: sets ``r2``.

        Raises :class:`DataError` where ``latents`` are too few to be judged by a tenth of them.
        """
        if len(latents) < 2 * JUDGED:
            raise DataError(f"{len(latents)} ID images are too few to learn from latents; at least {2 * JUDGED} are needed")
        judges = torch.arange(len(latents)) % JUDGED == 0
        known, seen = latents[~judges], features[~judges.to(features.device)]
        self.mean.copy_(seen.mean(0))
        self.scale.copy_((seen - self.mean).square().mean().sqrt())
        self.floor.copy_(features.min())
        optimizer = Adam(self.parameters(), LR, fused=True)
        orders = [torch.randperm(len(known), generator=stream(seed, "latent features", epoch)) for epoch in range(EPOCHS)]
        batches = [rows for order in orders for rows in order.split(BATCH)]
        for step, rows in enumerate(batches):
            set_lr(optimizer, cosine(step, len(batches), LR))
            wanted = (seen[rows.to(seen.device)] - self.mean) / self.scale
            loss = F.mse_loss(self._standard(known[rows].to(seen.device)), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.r2.copy_(self.explained(latents[judges], features[judges.to(features.device)]))

    @torch.no_grad()
    def explained(self, latents: Tensor, features: Tensor) -> Tensor:
        """R² = 1 - Σ (z - h(u))² / Σ (z - mean z)² of latents (n, C, h, w) and features (n, width), a scalar.

        1 for a perfect h, 0 for one that knows the mean alone, less for a worse one.
        """
        guessed = torch.cat([self(some.to(features.device)) for some in latents.split(BATCH)])
        return 1 - (features - guessed).square().sum() / (features - features.mean(0)).square().sum()


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.GroupNorm(GROUPS, outputs), nn.ReLU()]
