"""Paint full batches of outliers: noise, solver, decoder, resize and uint8, with prompts of any classes in one batch.

Latents are kept as the solver leaves them, in half precision.

A device is told of the next batch before the host touches the results of the one before, so that it never waits.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch

from dogfast.diffusion.autoencoder import to_bytes
from dogfast.diffusion.deepcache import reusing
from dogfast.diffusion.guidance import Denoise, guided
from dogfast.diffusion.noise import gaussian_noise
from dogfast.diffusion.schedule import Schedule
from dogfast.diffusion.solvers import SOLVERS
from dogfast.engines.networks import Networks
from dogfast.seeds import derive_seed
from dogfast.synthesis.id_check import Check
from dogfast.synthesis.quality import FAULTS, faults, latent_faults
from dogfast.synthesis.recipes import Recipe
from dogfast.synthesis.transfer import download, upload

MAX_ATTEMPTS = 3
IN_FLIGHT = 2
"""Batches a device knows of: the one it paints, and the next."""

Resolve = Callable[[list[int], list[int]], torch.Tensor]
"""(conditions, seeds) of a batch's rows to their tensor, on the networks' device."""


@dataclass(frozen=True)
class Brush:
    """All that painting needs: networks, recipe, schedule, target side, rows in a batch, and what conditions mean."""

    networks: Networks
    decode: Callable[[torch.Tensor], torch.Tensor] | None
    """Scaled latents to images in [-1, 1]: by the VAE or the tiny decoder of ``networks``; None: they stay latents."""
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
    checks: dict[str, Check] = field(default_factory=dict)
    """Further reasons to refuse an image, by their name."""


@dataclass(frozen=True)
class Painted:
    """One image uint8 (H, W, 3) or latent float16 (C, h, w), the seed it grew from, the attempt that was kept, and the fault
    if none was good."""

    content: torch.Tensor
    seed: int
    attempt: int
    fault: str
    sha256: bytes
    """Of the content: hashed while the device paints the next batch."""


SeedOf = Callable[[int, int], int]
"""(position in the list, attempt) to seed."""

Pending = Callable[[], list[Painted]]
"""Waits for the images of a batch that is under way."""


def paint(
    brush: Brush, conditions: list[int], seed_of: SeedOf, advance: Callable[[int], None] = lambda n: None
) -> list[Painted]:
    """Paint one image of each entry of ``conditions``; faulty ones are painted again from sub-seeds, `MAX_ATTEMPTS` times at most.

    What is still faulty, or a copy of an earlier image, is returned with its fault. ``advance`` is told of every batch how
    many images it began: none where it repeats some.
    """
    painted: dict[int, Painted] = {}
    left = list(range(len(conditions)))
    for attempt in range(MAX_ATTEMPTS):
        chunks = [left[start : start + brush.rows] for start in range(0, len(left), brush.rows)]
        begun = (
            begin(brush, [conditions[n] for n in chunk], [seed_of(n, attempt) for n in chunk], attempt) for chunk in chunks
        )
        for chunk, pending in zip(chunks, _one_ahead(begun)):
            painted |= dict(zip(chunk, pending()))
            advance(len(chunk) if attempt == 0 else 0)
        left = _refused(painted)
        if not left:
            break
    painted |= {place: replace(painted[place], fault=painted[place].fault or "duplicate") for place in left}
    return [painted[place] for place in range(len(conditions))]


def image_seed(run_seed: int, class_name: str, painted_from: str, index: int, attempt: int) -> int:
    """The seed of one image: a hash of what it is, so that no batch, worker or order can change it."""
    return derive_seed("outlier", run_seed, class_name, painted_from, index, attempt)


def begin(brush: Brush, conditions: list[int], seeds: list[int], attempt: int) -> Pending:
    """Tell the device of one full batch, waiting for nothing that it does.

    A short one is filled up with its last row, so that every row always meets the same shapes.
    """
    padding = brush.rows - len(seeds)
    rows, keys = conditions + conditions[-1:] * padding, seeds + seeds[-1:] * padding
    networks, recipe = brush.networks, brush.recipe
    start = brush.starts(rows, keys)

    def noise(step: int) -> torch.Tensor:
        drawn = gaussian_noise([derive_seed("step", key, step) for key in keys], tuple(start.shape[1:]))
        return upload(drawn, networks.device)

    denoise = _denoiser(networks, recipe.deepcache)
    predict = guided(denoise, brush.texts(rows, keys), brush.empty, recipe.guidance, recipe.steps)
    latents = SOLVERS[recipe.solver].solve(predict, start, brush.schedule, noise)
    arriving = download(*_developed(brush, latents, conditions))

    def painted() -> list[Painted]:
        contents, codes = arriving()
        words = (*FAULTS, *brush.checks)
        return [
            Painted(content, seed, attempt, words[code], hashlib.sha256(content.numpy()).digest())
            for content, seed, code in zip(contents, seeds, codes.tolist())
        ]

    return painted


def _developed(brush: Brush, latents: torch.Tensor, conditions: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """What is kept of each of ``conditions``, and its fault as a place in `FAULTS` and the brush's checks."""
    if brush.decode is None:
        halves = latents[: len(conditions)].half()
        return halves, latent_faults(halves)
    decoded = brush.decode(latents)[: len(conditions)]
    images = to_bytes(decoded, brush.image_px)
    codes = faults(decoded, images)
    for code, check in enumerate(brush.checks.values(), len(FAULTS)):
        codes = codes.masked_fill((codes == 0) & check(images, conditions), code)
    return images.permute(0, 2, 3, 1).contiguous(), codes


def _one_ahead(begun: Iterable[Pending]) -> Iterator[Pending]:
    """The batches in order, each handed on only when `IN_FLIGHT` are under way."""
    under_way: deque[Pending] = deque()
    for pending in begun:
        under_way.append(pending)
        if len(under_way) == IN_FLIGHT:
            yield under_way.popleft()
    yield from under_way


def _denoiser(networks: Networks, deepcache: int) -> Denoise:
    """The UNet for one batch."""
    return networks.denoise if deepcache == 1 else reusing(networks.denoise_deep, networks.denoise_shallow, deepcache)


def _refused(painted: dict[int, Painted]) -> list[int]:
    """Places of faulty images and of copies of an earlier one."""
    seen: set[bytes] = set()
    refused = []
    for place in sorted(painted):
        if painted[place].fault or painted[place].sha256 in seen:
            refused.append(place)
        seen.add(painted[place].sha256)
    return refused
