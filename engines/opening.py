"""The networks of a pipeline on the backend of choice, as the callables the stages use."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.engines.backends.torch import choose_attention, open_engine
from dogfast.engines.building import Platform, Workshop
from dogfast.engines.cache import Cache, default_folder
from dogfast.engines.choice import TORCH, choose_arithmetic, choose_backend, precision_of
from dogfast.engines.networks import Networks
from dogfast.engines.table import ENCODER_ROWS, NETWORKS, SHORT_TOKENS, Engine, Shape, text_rows, vae_rows
from dogfast.environment import choose_device
from dogfast.events import Events

Tensor = torch.Tensor
Open = Callable[[str, tuple[Shape, ...]], Engine]
"""(network, shapes of its inputs) to its engine."""


def open_networks(pipeline: Pipeline, config: ModelConfig, events: Events) -> Networks:
    """The networks of ``pipeline`` where and how ``config`` says; each is opened, and made if need be, when first called.

    Every choice is announced with its reason. Raises :class:`EnvironmentFault` or :class:`UsageError` for what cannot be had.
    """
    platform = choose_platform(config, events)
    if platform.backend == TORCH:
        attention = choose_attention(config.attention, platform.device)
        events.say(f"attention {attention.value}: {attention.reason}")
        return networks_on(pipeline, platform, _open_torch(pipeline, platform, attention.value))
    workshop = workshop_of(pipeline, platform, config, events)
    return networks_on(pipeline, platform, lambda name, shapes: workshop.open(NETWORKS[name], shapes))


def choose_platform(config: ModelConfig, events: Events, target: str = "") -> Platform:
    """Backend, device and arithmetic of ``config``, announced; ``target`` names GPUs to build for that need not be here."""
    device = choose_device(config.device)
    backend = choose_backend(config.backend, device.value, target, config.precision)
    precision = choose_arithmetic(config.precision, backend.value, device.value, target)
    where = f"for {target}" if target else f"on {device.value} ({device.reason})"
    events.say(f"backend {backend.value} ({backend.reason}) {where}, {precision.value} ({precision.reason})")
    return Platform(backend.value, device.value, precision.value, target)


def workshop_of(pipeline: Pipeline, platform: Platform, config: ModelConfig, events: Events) -> Workshop:
    return Workshop(pipeline, platform, engine_cache(config), events, config.build, _command(pipeline, platform, config))


def _command(pipeline: Pipeline, platform: Platform, config: ModelConfig) -> str:
    """The command line that makes the engines `open_networks` would look for."""
    given = {"--model": pipeline.name, "--backend": platform.backend, "--target": platform.target}
    given |= {"--precision": config.precision, "--clip": config.clip, "--revision": config.revision}
    given |= {"--device": config.device, "--engine-dir": config.engine_dir}
    usual = {
        "--target": "",
        "--precision": "auto",
        "--clip": "auto",
        "--revision": "main",
        "--device": "auto",
        "--engine-dir": "",
    }
    flags = [f"{flag} {value}" for flag, value in given.items() if value != usual.get(flag)]
    return " ".join(["dogfast build-engines", *flags, "(and the --rows, --resolution and --deepcache that you give)"])


def engine_cache(config: ModelConfig) -> Cache:
    return Cache(Path(config.engine_dir) if config.engine_dir else default_folder())


def _open_torch(pipeline: Pipeline, platform: Platform, attention: str) -> Open:
    @cache
    def opened(name: str) -> Engine:
        network = NETWORKS[name]
        precision = precision_of(network, TORCH, platform.precision)
        engine = open_engine(pipeline, network, platform.device, precision, attention)
        pipeline.release(network.part)
        return engine

    return lambda name, shapes: opened(name)


def networks_on(pipeline: Pipeline, platform: Platform, open_at: Open) -> Networks:
    """The stages' callables over engines: pixels are prepared, rows filled up to what an engine takes, outputs float32."""
    # Compiled by torch for a GPU, a network is made anew for every shape it meets.
    open_once, static = cache(open_at), platform.backend != TORCH or platform.device != "cpu"

    def call(name: str, *inputs: Tensor) -> tuple[Tensor, ...]:
        engine = open_once(name, tuple(tuple(tensor.shape) for tensor in inputs))
        return tuple(output.float() for output in engine(*inputs))

    def call_in_rows(name: str, given: Tensor, rows: int) -> tuple[Tensor, ...]:
        chunks = [call(name, _filled(chunk, rows) if static else chunk) for chunk in given.split(rows)]
        return tuple(torch.cat(outputs)[: len(given)] for outputs in zip(*chunks))

    def encode_text(ids: Tensor) -> tuple[Tensor, Tensor]:
        tokens = ids.shape[1]
        wide = SHORT_TOKENS if tokens <= SHORT_TOKENS <= pipeline.tokens else pipeline.tokens
        padded = torch.nn.functional.pad(ids, (0, wide - tokens), value=pipeline.end_id) if static else ids
        states, projected = call_in_rows("text_encoder", padded, text_rows(padded.shape[1]))
        return states[:, :tokens], projected

    def encode_image(images: Tensor) -> Tensor:
        return call_in_rows("image_encoder", pipeline.pixels.prepared(images.to(platform.device)), ENCODER_ROWS)[0]

    def encode(images: Tensor) -> Tensor:
        return call_in_rows("vae_encoder", images, vae_rows(images.shape[-1]))[0]

    def denoise(latents: Tensor, timesteps: Tensor, states: Tensor) -> Tensor:
        return call("unet", latents, timesteps, states)[0]

    def denoise_deep(latents: Tensor, timesteps: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        return call("unet_deep", latents, timesteps, states)

    def denoise_shallow(latents: Tensor, timesteps: Tensor, states: Tensor, feature: Tensor) -> Tensor:
        return call("unet_shallow", latents, timesteps, states, feature)[0]

    def decode(latents: Tensor) -> Tensor:
        return call("vae_decoder", latents)[0]

    def decode_tiny(latents: Tensor) -> Tensor:
        return call("tiny_decoder", latents)[0]

    calls = (encode_text, encode_image, encode, denoise, denoise_deep, denoise_shallow, decode, decode_tiny)
    return Networks(*calls, platform.backend, platform.device, platform.precision)


def _filled(tensor: Tensor, rows: int) -> Tensor:
    """``tensor`` with its last row repeated up to ``rows``."""
    return torch.cat([tensor, tensor[-1:].expand(rows - len(tensor), *tensor.shape[1:])]) if len(tensor) < rows else tensor
