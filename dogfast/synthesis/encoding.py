"""Latents of the run's ID images, for objectives that compare them with painted ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from dogfast.data.catalogue import load_id
from dogfast.engines.networks import Networks
from dogfast.engines.opening import open_networks
from dogfast.engines.table import vae_rows
from dogfast.errors import EnvironmentFault
from dogfast.events import Events
from dogfast.shards.id_latents import are_written, marks_of, write_id_latents
from dogfast.synthesis.job import Job, side_in_latents
from dogfast.synthesis.resolver import encode_pictures


def keep_id_latents(job: Job, events: Events) -> None:
    """Write the latents of the ID training images at the painted ones' size, unless they stand there already."""
    images, pipeline = load_id(job.config.data).train, job.pipeline
    side = side_in_latents(job.config.synthesis.resolution, pipeline)
    shape, marks = (len(images), pipeline.latent_channels, side, side), marks_of(images, pipeline.revision)
    if are_written(job.run.id_latents, shape, marks):
        return
    networks = open_networks(pipeline, job.config.model, events)
    with events.progress("encode ID images", len(images)) as advance:
        parts = _encoded(networks, images.images, side * pipeline.downscale, advance)
        write_id_latents(job.run.id_latents, parts, shape, marks)


def _encoded(networks: Networks, images: torch.Tensor, side_px: int, advance: Callable[[int], None]) -> Iterator[torch.Tensor]:
    for pixels in images.split(vae_rows(side_px)):
        latents = encode_pictures(networks, pixels, side_px).half().cpu()
        if not latents.isfinite().all():
            raise EnvironmentFault("the VAE's latents of ID images are not finite; use --precision fp32")
        advance(len(pixels))
        yield latents
