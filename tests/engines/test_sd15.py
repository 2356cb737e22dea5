"""Stable Diffusion v1.5's true sizes with random weights, with no download."""

import torch

from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.table import axis_sizes

PARAMETERS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480, "image_encoder": 303_966_208}
"""Of the published networks, the image tower with its projection."""


def test_its_sizes_are_the_published_ones():
    with torch.device("meta"):
        pipeline = RandomPipeline()
        counts = {part: sum(weight.numel() for weight in getattr(pipeline, part).parameters()) for part in PARAMETERS}
    assert counts == PARAMETERS
    assert axis_sizes(pipeline, 512) == {
        "tokens": 77, "width": 768, "rgb": 3, "channels": 4, "latent": 64, "px": 512, "tower_px": 224,
    }  # fmt: skip
