"""Paint full batches of outliers: noise, solver, decoder, resize and uint8, with prompts of any classes in one batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from dogfast.diffusion.autoencoder import to_bytes
from dogfast.diffusion.guidance import guided
from dogfast.diffusion.noise import derive_seed, gaussian_noise
from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers import SOLVERS
from dogfast.engines.networks import Networks
from dogfast.synthesis.id_check import Check
from dogfast.synthesis.quality import faults
from dogfast.synthesis.recipes import Recipe

MAX_ATTEMPTS = 3

Resolve = Callable[[list[int], list[int]], torch.Tensor]
"""(conditions, seeds) of a batch's rows to their tensor."""


@dataclass(frozen=True)
class Brush:
    """All that painting needs: networks, recipe, schedule, target side, rows in a batch, and what conditions mean."""

    networks: Networks
    decode: Callable[[torch.Tensor], torch.Tensor]
    """Scaled latents to images in [-1, 1]: by the VAE or the tiny decoder of ``networks``."""
    recipe: Recipe
    schedule: Schedule
    image_px: int
    rows: int
    texts: Resolve
    """Token states (R, L, D) of conditions, given with the images' seeds."""
    starts: Resolve
    """Latents (R, C, h, w) at the schedule's first timestep, of the same."""
    empty: torch.Tensor
    """Token states of what guidance leads away from (1, L, D): the empty or a negative prompt."""
    check: Check | None = None
    """A further reason to refuse an image."""


@dataclass(frozen=True)
class Painted:
    """One image uint8 (H, W, 3) as a tensor, the seed it grew from, the attempt that was kept, and the fault if none was good."""

    image: torch.Tensor
    seed: int
    attempt: int
    fault: str


SeedOf = Callable[[int, int], int]
"""(position in the list, attempt) to seed."""


def paint(
    brush: Brush, conditions: list[int], seed_of: SeedOf, advance: Callable[[int], None] = lambda n: None
) -> list[Painted]:
    """Paint one image of each entry of ``conditions``; faulty ones are painted again from sub-seeds, `MAX_ATTEMPTS` times at most.

    What is still faulty, or a copy of an earlier image, is returned with its fault.
    """
    painted: dict[int, Painted] = {}
    left = list(range(len(conditions)))
    for attempt in range(MAX_ATTEMPTS):
        for start in range(0, len(left), brush.rows):
            chunk = left[start : start + brush.rows]
            seeds = [seed_of(place, attempt) for place in chunk]
            images, found = _batch(brush, [conditions[place] for place in chunk], seeds)
            painted |= {
                place: Painted(image, seed, attempt, fault) for place, image, seed, fault in zip(chunk, images, seeds, found)
            }
            if attempt == 0:
                advance(len(chunk))
        left = _refused(painted)
        if not left:
            break
    painted |= {place: replace(painted[place], fault=painted[place].fault or "duplicate") for place in left}
    return [painted[place] for place in range(len(conditions))]


def image_seed(run_seed: int, class_name: str, painted_from: str, index: int, attempt: int) -> int:
    """The seed of one image: a hash of what it is, so that no batch, worker or order can change it."""
    return derive_seed("outlier", run_seed, class_name, painted_from, index, attempt)


def _batch(brush: Brush, conditions: list[int], seeds: list[int]) -> tuple[list[torch.Tensor], list[str]]:
    """One full batch; a short one is filled up with its last row, so that every row always meets the same shapes."""
    padding = brush.rows - len(seeds)
    rows, keys = conditions + conditions[-1:] * padding, seeds + seeds[-1:] * padding
    device = brush.networks.device
    predict = guided(
        brush.networks.denoise,
        brush.texts(rows, keys).to(device),
        brush.empty.to(device),
        brush.recipe.guidance,
        brush.recipe.steps,
    )
    start = brush.starts(rows, keys).to(device)

    def noise(step: int) -> torch.Tensor:
        return gaussian_noise([derive_seed("step", key, step) for key in keys], tuple(start.shape[1:])).to(device)

    latents = SOLVERS[brush.recipe.solver].solve(predict, start, brush.schedule, noise)
    decoded = brush.decode(latents)[: len(seeds)]
    images = to_bytes(decoded, brush.image_px)
    found = faults(decoded, images)
    if brush.check:
        found = [fault or further for fault, further in zip(found, brush.check(images, conditions))]
    return list(images.permute(0, 2, 3, 1).contiguous().cpu()), found


def _refused(painted: dict[int, Painted]) -> list[int]:
    """Places of faulty images and of copies of an earlier one."""
    seen: set[bytes] = set()
    refused = []
    for place in sorted(painted):
        pixels = hashlib.sha256(painted[place].image.numpy().tobytes()).digest()
        if painted[place].fault or pixels in seen:
            refused.append(place)
        seen.add(pixels)
    return refused
