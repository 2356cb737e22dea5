"""What a condition means to the painter: token states, and the latents that painting starts from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from dogfast.data.images import ImageSet
from dogfast.diffusion.autoencoder import to_signed
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.noise import gaussian_noise
from dogfast.diffusion.prompts import encode_pseudo_words, tokenize
from dogfast.engines.networks import Networks
from dogfast.seeds import derive_seed
from dogfast.synthesis.transfer import upload

TEXT_ROWS = 256
KEPT = 1024
"""Token states, and latents of ID images, that are held at once: on the device, for the way to the host is one that waits."""

Condition = dict[str, Any]
Tables = dict[str, torch.Tensor]


def painted_from(condition: Condition) -> str:
    """What a condition is painted from, as text: its prompt where it is one prompt and nothing else."""
    ((ref, weight), *more) = condition["text"]
    if isinstance(ref, str) and weight == 1.0 and not more and "start" not in condition and "text_noise" not in condition:
        return ref
    return json.dumps({key: condition[key] for key in ("text", "text_noise", "start") if key in condition}, sort_keys=True)


def prompt_of(condition: Condition) -> str:
    """The prompt as people read it; a row of a table is named by its place."""
    return " + ".join(
        (ref if isinstance(ref, str) else f"{ref['table']}#{ref['row']}") + ("" if weight == 1.0 else f" x {weight:g}")
        for ref, weight in condition["text"]
    )


@dataclass(frozen=True)
class Sources:
    """What conditions refer to: the prompt around table rows, the tables, and the ID images."""

    prompt: str
    tables: Tables
    images: Callable[[], ImageSet]


class Resolver:
    """Token states and starting latents for rows of a batch; what rows share is computed once."""

    def __init__(
        self,
        conditions: list[Condition],
        pipeline: Pipeline,
        networks: Networks,
        latent_shape: tuple[int, int, int],
        signal: float,
        sources: Sources,
    ):
        """``signal``: the share of the variance that is picture where painting starts (0: pure noise)."""
        self.conditions, self.pipeline, self.networks = conditions, pipeline, networks
        self.latent_shape, self.signal, self.sources = latent_shape, signal, sources
        self._states: dict[str, torch.Tensor] = {}
        self._latents: dict[str, torch.Tensor] = {}

    def texts(self, rows: list[int], seeds: list[int]) -> torch.Tensor:
        """Token states (R, L, D) of the conditions ``rows``, on the device; ``seeds`` decide the noise of noisy ones."""
        chosen = [self.conditions[row] for row in rows]
        self._encode([ref for condition in chosen for ref, _ in condition["text"]])
        states = torch.stack([_weighted(condition["text"], self._states) for condition in chosen])
        strengths = [condition.get("text_noise", 0.0) for condition in chosen]
        if not any(strengths):
            return states
        noise = gaussian_noise([derive_seed("text-noise", seed) for seed in seeds], tuple(states.shape[1:]))
        return states + upload(torch.tensor(strengths)[:, None, None] * noise, self.networks.device)

    def starts(self, rows: list[int], seeds: list[int]) -> torch.Tensor:
        """Latents (R, C, h, w) at the first timestep, on the device: noise by ``seeds``, over those of ID images where there are any."""
        noise = upload(gaussian_noise(seeds, self.latent_shape), self.networks.device)
        chosen = [self.conditions[row] for row in rows]
        if "start" not in chosen[0]:
            return noise
        self._load([key for condition in chosen for key, _ in condition["start"]])
        pictures = torch.stack([_weighted(condition["start"], self._latents) for condition in chosen])
        return self.signal**0.5 * pictures + (1 - self.signal) ** 0.5 * noise

    def _encode(self, refs: list[Any]) -> None:
        wanted = _wanted(self._states, {_name(ref): ref for ref in refs})
        prompts = [ref for ref in wanted if isinstance(ref, str)]
        for start in range(0, len(prompts), TEXT_ROWS):
            together = prompts[start : start + TEXT_ROWS]
            states = self.networks.encode_text(upload(tokenize(self.pipeline.tokenizer, together), self.networks.device))[0]
            self._states |= {_name(ref): each for ref, each in zip(together, states)}
        for table in sorted({ref["table"] for ref in wanted if not isinstance(ref, str)}):
            mine = [ref for ref in wanted if not isinstance(ref, str) and ref["table"] == table]
            rows = self.sources.tables[table][[ref["row"] for ref in mine]]
            states, _ = encode_pseudo_words(self.pipeline, self.sources.prompt, rows)
            self._states |= {_name(ref): each for ref, each in zip(mine, upload(states, self.networks.device))}

    @cached_property
    def _places(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.sources.images().keys)}

    def _load(self, keys: list[str]) -> None:
        wanted = _wanted(self._latents, {key: key for key in keys})
        if not wanted:
            return
        side_px = self.latent_shape[-1] * self.pipeline.downscale
        pixels = self.sources.images().images[[self._places[key] for key in wanted]]
        self._latents |= dict(zip(wanted, encode_pictures(self.networks, pixels, side_px)))


def encode_pictures(networks: Networks, pixels: torch.Tensor, side_px: int) -> torch.Tensor:
    """Scaled latents float32 (n, C, h, w) of images uint8 (n, 3, H, W) brought to ``side_px``, on the device."""
    return networks.encode(to_signed(upload(pixels, networks.device), side_px)).float()


def _name(ref: Any) -> str:
    return ref if isinstance(ref, str) else json.dumps(ref, sort_keys=True)


def _wanted(kept: dict[str, torch.Tensor], named: dict[str, Any]) -> list[Any]:
    """What of ``named`` is not in ``kept``, which is emptied where it would grow beyond `KEPT`."""
    if len(kept) + len(named) > KEPT:
        kept.clear()
    return [ref for name, ref in named.items() if name not in kept]


def _weighted(parts: list[list[Any]], kept: dict[str, torch.Tensor]) -> torch.Tensor:
    return sum(weight * kept[_name(ref)] for ref, weight in parts)
