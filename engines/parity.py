"""Does an engine compute what the network computes? Its outputs against torch in fp32, on fixed inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from dogfast.diffusion.load import Pipeline
from dogfast.engines.examples import TIMESTEPS, example_inputs
from dogfast.engines.table import Engine, Network, Shape
from dogfast.engines.wrappers import wrap

ROWS_COMPARED = 4
"""Rows do not meet inside a network, so torch computes the first few only."""
MIN_COSINE = 0.999
OK, REFUSED, NOT_RUN = "ok", "refused", "not run"


@dataclass(frozen=True)
class Parity:
    """``verdict``: "ok", "refused", or "not run" where the engine cannot run here; then the figures are None.

    ``cosine``: the least over rows, outputs and timesteps; ``max_abs``: the greatest difference of one element.
    """

    verdict: str
    cosine: float | None = None
    max_abs: float | None = None


def measure_parity(pipeline: Pipeline, network: Network, shapes: tuple[Shape, ...], engine: Engine) -> Parity:
    """Compare ``engine`` (static at ``shapes``) with torch; the UNet at three timesteps. Below `MIN_COSINE` it is refused."""
    reference = wrap(pipeline, network.name)
    pairs = [
        pair
        for timestep in (TIMESTEPS if any(port.name == "timesteps" for port in network.inputs) else TIMESTEPS[:1])
        for pair in _outputs(reference, engine, example_inputs(pipeline, network, shapes, timestep))
    ]
    # Least and greatest by torch: Python's would pass over NaN.
    cosine = float(torch.cat([F.cosine_similarity(ours.flatten(1), theirs.flatten(1)) for ours, theirs in pairs]).min())
    max_abs = float(torch.stack([(ours - theirs).abs().max() for ours, theirs in pairs]).max())
    return Parity(OK if cosine >= MIN_COSINE else REFUSED, cosine, max_abs)


@torch.no_grad()
def _outputs(reference: torch.nn.Module, engine: Engine, inputs: tuple[torch.Tensor, ...]):
    few = tuple(tensor[:ROWS_COMPARED] for tensor in inputs)
    ours = (tensor[:ROWS_COMPARED].double().cpu() for tensor in engine(*inputs))
    return zip(ours, (tensor.double() for tensor in reference(*few)), strict=True)
