"""What is exported: the networks of a generator, with their inputs and outputs, axes and element types.

Axes: rows (what an engine takes at once), tokens, width (of token states), projected (the space shared by words and
images), channels, feature (channels of what DeepCache keeps), latent (positions a side), px (pixels a side), tower_px (pixels a side of the image tower). An engine
is static in all of them; a graph leaves open only `GRAPH_OPEN`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from dogfast.diffusion.load import Pipeline

GRAPH_OPEN = ("rows", "tokens")
ENCODER_ROWS = 32
"""Rows of the encoders' engines: words and images come in any number and are filled up to it."""
SHORT_TOKENS = 16
"""Most words in a prompt fit: causal attention lets the text encoder leave out what follows the end."""
PROMPT_ROWS = 4
"""Rows of the text encoder's engine for longer ones: prompts to paint from are few, and filling up costs as much as they do."""
PIXELS_AT_ONCE = 2**21
"""What the VAE encodes together: 32 images of 32 px, 8 of 512 px."""
FLOAT, FLOAT32, INT64, BOOL = "float", "float32", "int64", "bool"
"""Element types: the arithmetic the graph was exported in; always float32; token ids; verdicts."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Shape = tuple[int, ...]
Engine = Callable[..., tuple[torch.Tensor, ...]]
"""One network at static shapes: tensors of the ports' shapes, on any device and in any float type, to tensors of its outputs.

The outputs are the caller's: a later call leaves them alone.
"""


@dataclass(frozen=True)
class Port:
    """One input or output."""

    name: str
    axes: tuple[str, ...]
    kind: str = FLOAT

    def dtype(self, precision: str) -> torch.dtype:
        return {FLOAT: DTYPES[precision], FLOAT32: torch.float32, INT64: torch.int64, BOOL: torch.bool}[self.kind]


@dataclass(frozen=True)
class Network:
    """One network. ``part``: the attribute of `Pipeline` that holds its weights."""

    name: str
    part: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    min_cosine: float = 0.999
    """Least cosine of an engine's outputs to torch's in fp32, a row."""
    exact: bool = False
    """Anchors and pseudo-words hang on small differences of what it says: fp32 wherever a backend has a choice."""


_LATENTS = ("rows", "channels", "latent", "latent")
_IMAGES = ("rows", "rgb", "px", "px")
_STATES = ("rows", "tokens", "width")
_FEATURE = ("rows", "feature", "latent", "latent")
# A sinusoid of 999 in fp16 would be off by half a radian: timesteps are float32 in every graph.
_UNET_INPUTS = (Port("latents", _LATENTS), Port("timesteps", ("rows",), FLOAT32), Port("states", _STATES))

NETWORKS = {
    network.name: network
    for network in (
        Network(
            "text_encoder",
            "text_encoder",
            (Port("ids", ("rows", "tokens"), INT64),),
            (Port("states", _STATES), Port("projected", ("rows", "projected"))),
            min_cosine=0.9999,
            exact=True,
        ),
        Network(
            "image_encoder",
            "image_encoder",
            (Port("pixels", ("rows", "rgb", "tower_px", "tower_px")),),
            (Port("projected", ("rows", "projected")),),
            min_cosine=0.9999,
            exact=True,
        ),
        Network("unet", "unet", _UNET_INPUTS, (Port("noise", _LATENTS),)),
        Network("unet_deep", "unet", _UNET_INPUTS, (Port("noise", _LATENTS), Port("feature", _FEATURE))),
        Network("unet_shallow", "unet", (*_UNET_INPUTS, Port("feature", _FEATURE)), (Port("noise", _LATENTS),)),
        Network("vae_encoder", "vae", (Port("images", _IMAGES),), (Port("latents", _LATENTS),), exact=True),
        Network("vae_decoder", "vae", (Port("latents", _LATENTS),), (Port("images", _IMAGES),)),
        Network("tiny_decoder", "tiny_decoder", (Port("latents", _LATENTS),), (Port("images", _IMAGES),)),
    )
}


def networks_used(deepcache: int) -> tuple[str, ...]:
    """Names of the networks of a generator whose whole UNet is computed at every ``deepcache``-th call (1: the plain one)."""
    unused = ("unet_deep", "unet_shallow") if deepcache == 1 else ("unet",)
    return tuple(name for name in NETWORKS if name not in unused)


def axis_sizes(pipeline: Pipeline, side_px: int) -> dict[str, int]:
    """Size of every axis of an input but rows, for images of ``side_px``."""
    return {
        "tokens": pipeline.tokens,
        "width": pipeline.width,
        "rgb": 3,
        "channels": pipeline.latent_channels,
        "feature": pipeline.feature_channels,
        "latent": side_px // pipeline.downscale,
        "px": side_px,
        "tower_px": pipeline.pixels.side_px,
    }


def input_shapes(network: Network, sizes: dict[str, int], rows: int) -> tuple[Shape, ...]:
    """Shapes of the inputs of ``network`` for ``rows`` rows."""
    return tuple(tuple((sizes | {"rows": rows})[axis] for axis in port.axes) for port in network.inputs)


def engine_shapes(pipeline: Pipeline, network: Network, side_px: int, rows: int) -> list[tuple[Shape, ...]]:
    """The shapes at which stages open ``network`` when they paint ``rows`` images of ``side_px``: 2 ``rows`` where guided."""
    sizes = axis_sizes(pipeline, pipeline.native_px if network.name == "vae_encoder" else side_px)
    if network.name == "text_encoder":
        lengths = sorted({min(SHORT_TOKENS, sizes["tokens"]), sizes["tokens"]})
        return [input_shapes(network, sizes | {"tokens": length}, text_rows(length)) for length in lengths]
    if network.name == "image_encoder":
        return [input_shapes(network, sizes, ENCODER_ROWS)]
    if network.name == "vae_encoder":
        return [input_shapes(network, sizes, vae_rows(pipeline.native_px))]
    return [input_shapes(network, sizes, each) for each in ((rows, 2 * rows) if network.part == "unet" else (rows,))]


def sizes_of(network: Network, shapes: tuple[Shape, ...]) -> dict[str, int]:
    """Size of every axis of inputs of these ``shapes``, rows included."""
    return {axis: size for port, shape in zip(network.inputs, shapes) for axis, size in zip(port.axes, shape)}


def text_rows(tokens: int) -> int:
    """Rows of the text encoder's engine for prompts of ``tokens``: one number for each length, whatever is asked together."""
    return ENCODER_ROWS if tokens <= SHORT_TOKENS else PROMPT_ROWS


def vae_rows(side_px: int) -> int:
    """Rows of the VAE encoder's engine for images of ``side_px``."""
    return max(1, min(ENCODER_ROWS, PIXELS_AT_ONCE // side_px**2))
