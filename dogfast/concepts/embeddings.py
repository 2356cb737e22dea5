"""Words, pseudo-words and images in CLIP's shared space; what was embedded once is kept by its content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dogfast.data.images import ImageSet
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.prompts import tokenize
from dogfast.engines.cache import Cache, Untrusted, cache_home
from dogfast.engines.networks import Networks
from dogfast.errors import EnvironmentFault
from dogfast.events import Events
from dogfast.run import digest

CACHE_VARIABLE = "DOGFAST_EMBEDDINGS"
TABLE = "table.npy"
ROWS = 256

Advance = Callable[[int], None]
Chunks = Callable[[], Iterator[torch.Tensor]]


class Embedder:
    """CLIP's two towers around one prompt. Rows are float32 on the CPU: (n, P)."""

    def __init__(self, pipeline: Pipeline, networks: Networks, prompt: str, events: Events):
        self.pipeline, self.networks, self.prompt, self.events = pipeline, networks, prompt, events
        self.cache = Cache(Path(os.environ.get(CACHE_VARIABLE) or cache_home() / "embeddings"), f"${CACHE_VARIABLE}")

    def words(self, words: tuple[str, ...]) -> torch.Tensor:
        """T(prompt(word)) of every word."""
        what = {"words": digest(words), "prompt": self.prompt, "weights": self.pipeline.weights("text_encoder")}
        return self._kept("words", what, len(words), lambda: self._words(words))

    def images(self, images: ImageSet) -> torch.Tensor:
        """E'(x) of every image."""
        what = {"images": images.digest, "weights": self.pipeline.weights("image_encoder")}
        return self._kept("images", what, len(images), lambda: map(self.networks.encode_image, images.images.split(ROWS)))

    def _words(self, words: tuple[str, ...]) -> Iterator[torch.Tensor]:
        tokenizer = self.pipeline.tokenizer
        for start in range(0, len(words), ROWS):
            prompts = [self.prompt.replace("{}", word) for word in words[start : start + ROWS]]
            ids = without_padding(tokenize(tokenizer, prompts), tokenizer.eos_token_id)
            yield self.networks.encode_text(ids)[1]

    def _kept(self, name: str, what: dict[str, Any], count: int, chunks: Chunks) -> torch.Tensor:
        """The rows of ``chunks``, from disk where the same were embedded before, by the same networks and arithmetic."""
        networks = self.networks
        fields = {"kind": name, **what, "backend": networks.backend, "device": networks.device.partition(":")[0]}
        fields["precision"] = networks.precision
        with self.events.progress(f"embed {name}", count) as advance:
            try:
                folder, done = self._entry(fields, count, lambda: _told(chunks(), advance))
                advance(count if done else 0)
                return _table(folder)
            except EnvironmentFault as error:
                self.events.say(f"warning: embeddings of {name} are not kept: {error}")
                return torch.cat([chunk.float().cpu() for chunk in _told(chunks(), advance)])

    def _entry(self, fields: dict[str, Any], count: int, chunks: Chunks) -> tuple[Path, bool]:
        """The folder of the rows, and whether they were there already."""
        try:
            found = self.cache.find(fields)
        except Untrusted as error:
            found = None
            self.events.say(f"warning: kept embeddings of {fields['kind']} are not used: {error}")

        def wait() -> None:
            self.events.say(f"another process embeds the {fields['kind']}; waiting for it")

        entry = found or self.cache.build(fields, lambda folder: _write(folder / TABLE, count, chunks()), wait)
        return entry.folder, found is not None


def _told(chunks: Iterator[torch.Tensor], advance: Advance) -> Iterator[torch.Tensor]:
    for chunk in chunks:
        advance(len(chunk))
        yield chunk


def _write(path: Path, count: int, chunks: Iterator[torch.Tensor]) -> dict[str, Any]:
    """Write rows as they come: however many there are, only a chunk of them is in memory."""
    table, row = None, 0
    for chunk in chunks:
        if table is None:
            table = np.lib.format.open_memmap(path, "w+", np.float32, (count, chunk.shape[1]))
        table[row : row + len(chunk)] = chunk.float().cpu().numpy()
        row += len(chunk)
    assert table is not None and row == count
    table.flush()
    return {}


def _table(folder: Path) -> torch.Tensor:
    """The rows in ``folder``, mapped: pages are read when they are looked at."""
    return torch.from_numpy(np.load(folder / TABLE, mmap_mode="c"))


def without_padding(ids: torch.Tensor, end_id: int) -> torch.Tensor:
    """Ids up to the last first end token: attention is causal, so what follows changes no projected state, only costs time."""
    return ids[:, : int((ids == end_id).int().argmax(1).max()) + 1]
