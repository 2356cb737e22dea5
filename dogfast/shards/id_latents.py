"""The ID training images as the generator's VAE encodes them, beside painted latents: `latents` float16 (n, C, h, w)."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch

from dogfast.data.images import ImageSet
from dogfast.errors import DataError
from dogfast.run import Run, publish
from dogfast.shards.latents import Latents

TENSOR = "latents"
Shape = tuple[int, ...]
Marks = dict[str, str]
"""What latents were made of; they are made anew where it differs."""


def marks_of(images: ImageSet, model_revision: str) -> Marks:
    """``images`` by the digest of their keys and pixels, and the revision of the generator."""
    return {"id_data": images.digest, "model_revision": model_revision}


def write_id_latents(path: Path, parts: Iterable[torch.Tensor], shape: Shape, marks: Marks) -> None:
    """Publish a safetensors file of ``parts``, float16 and together of ``shape``, each held only until it is written."""
    described = {"dtype": "F16", "shape": shape, "data_offsets": [0, 2 * math.prod(shape)]}
    header = json.dumps({"__metadata__": marks, TENSOR: described}).encode()
    header += b" " * (-len(header) % 8)
    publish(path, chain([struct.pack("<Q", len(header)), header], (part.numpy().tobytes() for part in parts)))


def are_written(path: Path, shape: Shape, marks: Marks) -> bool:
    """Whether ``path`` holds latents of ``shape`` that were made of what ``marks`` say."""
    try:
        return _described(path) == (shape, "F16", marks)
    except DataError:
        return False


def read_id_latents(run: Run, images: ImageSet, painted: Latents) -> torch.Tensor:
    """Latents of ``images`` in their order, float16 (n, C, h, w), of the generator and the size of the ``painted`` ones.

    Raises :class:`DataError` where the run has none, or others.
    """
    from safetensors import safe_open

    shape, kind, marks = _described(run.id_latents)
    wanted = [marks_of(images, revision) for revision in {facts["model_revision"] for facts in painted.facts}]
    if wanted != [marks] or kind != "F16" or shape != (len(images), *painted.values.shape[1:]):
        raise DataError(
            f"{run.id_latents} is of other ID images, another generator or another --resolution than the painted latents; "
            "`dogfast generate --output-kind latent` makes it anew"
        )
    with safe_open(run.id_latents, "pt") as file:
        return file.get_tensor(TENSOR)


def _described(path: Path) -> tuple[Shape, str, Marks]:
    """Shape, element type and marks of what ``path`` holds; :class:`DataError` where it is no such file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            stored = file.get_slice(TENSOR)
            return tuple(stored.get_shape()), stored.get_dtype(), file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path} is missing or damaged ({error}); `dogfast generate --output-kind latent` makes it anew"
        ) from error
