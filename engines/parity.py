"""Does an engine compute what the network computes? Its outputs against torch in fp32, on fixed inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from dogfast.diffusion.load import Pipeline
from dogfast.engines.examples import TIMESTEPS, example_inputs
from dogfast.engines.table import Engine, Network, Shape
from dogfast.engines.wrappers import wrap

ENDS = 2
"""Torch computes the first and the last few rows only: rows do not meet inside a network."""
MAX_RELATIVE = 0.05
OK, REFUSED, NOT_RUN = "ok", "refused", "not run"


@dataclass(frozen=True)
class Parity:
    """``verdict``: "ok", "refused", or "not run" where the engine cannot run here; then the figures are None.

    ``cosine``: the least over rows, outputs and timesteps; ``relative``: the greatest L2 distance of a row, as a share of the
    row's own length; ``max_abs``: the greatest difference of one element.
    """

    verdict: str
    cosine: float | None = None
    relative: float | None = None
    max_abs: float | None = None


def measure_parity(pipeline: Pipeline, network: Network, shapes: tuple[Shape, ...], engine: Engine) -> Parity:
    """Compare ``engine`` (static at ``shapes``) with torch; the UNet at three timesteps.

    It is refused when a row's cosine is below the network's ``min_cosine``, when its distance is above `MAX_RELATIVE` (a
    wrong scale has a perfect cosine), or when any row of all holds a non-finite value.
    """
    reference = wrap(pipeline, network.name)
    timesteps = TIMESTEPS if any(port.name == "timesteps" for port in network.inputs) else TIMESTEPS[:1]
    found = [
        _distances(ours, theirs)
        for timestep in timesteps
        for ours, theirs in _outputs(reference, engine, example_inputs(pipeline, network, shapes, timestep))
    ]
    # Least and greatest by torch: Python's pass over NaN.
    cosine, relative, max_abs = (torch.stack(values) for values in zip(*found))
    least, farthest, greatest = float(cosine.min()), float(relative.max()), float(max_abs.max())
    holds = least >= network.min_cosine and farthest <= MAX_RELATIVE
    return Parity(OK if holds else REFUSED, least, farthest, greatest)


def _distances(ours: torch.Tensor, theirs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Least cosine, greatest relative distance and greatest difference over rows; NaN where a value is not finite."""
    ours, theirs = ours.flatten(1), theirs.flatten(1)
    difference = ours - theirs
    relative = difference.norm(dim=1) / theirs.norm(dim=1)
    return F.cosine_similarity(ours, theirs).min(), relative.max(), difference.abs().max()


@torch.no_grad()
def _outputs(
    reference: torch.nn.Module, engine: Engine, inputs: tuple[torch.Tensor, ...]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Of every output the rows at both ends, the engine's and torch's; all NaN where any row of the engine's is not finite."""
    rows = [*range(len(inputs[0]))]
    ends = sorted({*rows[:ENDS], *rows[-ENDS:]})
    expected = reference(*(tensor[ends] for tensor in inputs))
    for ours, theirs in zip(engine(*inputs), expected, strict=True):
        kept = ours[ends].double().cpu() if ours.isfinite().all() else torch.full(theirs.shape, float("nan")).double()
        yield kept, theirs.double()
