"""Fixed inputs of every network: what is traced at export, and what parity is measured on."""

from __future__ import annotations

import torch

from dogfast.diffusion.load import Pipeline
from dogfast.engines.table import INT64, Network, Shape

TIMESTEPS = (999.0, 500.0, 1.0)
"""The noisiest, a middling and the cleanest: where a network's errors differ."""


def example_inputs(
    pipeline: Pipeline, network: Network, shapes: tuple[Shape, ...], timestep: float = TIMESTEPS[0]
) -> tuple[torch.Tensor, ...]:
    """Inputs in float32 and int64, the same in every process: standard normal, and token ids between start and end."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        _ids(pipeline, shape, generator)
        if port.kind == INT64
        else torch.full(shape, timestep)
        if port.name == "timesteps"
        else torch.randn(shape, generator=generator)
        for port, shape in zip(network.inputs, shapes)
    )


def _ids(pipeline: Pipeline, shape: Shape, generator: torch.Generator) -> torch.Tensor:
    """Random words: a start token, ids below the special ones, and end tokens from a place of each row's own."""
    rows, tokens = shape
    ids = torch.randint(0, pipeline.start_id, shape, generator=generator)
    ends = torch.randint(1, tokens, (rows, 1), generator=generator)
    ids = torch.where(torch.arange(tokens) >= ends, pipeline.end_id, ids)
    ids[:, 0] = pipeline.start_id
    return ids
