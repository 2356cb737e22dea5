"""Latents as shards hold them: NPY files of float16 (C, h, w), read without pickle and without trust."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dogfast.errors import DataError
from dogfast.shards.format import NPY, Sample
from dogfast.shards.reader import chosen_samples, not_latents, read_records
from dogfast.store import Place

MAX_VALUES = 2**22
"""Of one latent: 16 channels of 512 x 512."""


def encode_latent(latent: np.ndarray) -> bytes:
    """float16 (C, h, w) as an NPY file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, latent, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def decode_latent(path: Place, sample: Sample) -> np.ndarray:
    """float16 (C, h, w); :class:`DataError` names what is no such file, not of its stated size, or not finite.

    The header is checked before anything is made of its numbers, and the values are a view of the file's bytes.
    """
    if sample.suffix != NPY:
        raise not_latents(path)
    try:
        file = io.BytesIO(sample.content)
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("not of version 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype != np.dtype("<f2") or fortran or len(shape) != 3 or any(type(size) is not int or size < 1 for size in shape):
            raise ValueError(f"{dtype} {shape} in {'Fortran' if fortran else 'C'} order")
        if shape[1:] != (sample.facts["height"], sample.facts["width"]) or math.prod(shape) > MAX_VALUES:
            raise ValueError(f"of shape {shape}")
        latent = np.frombuffer(sample.content, "<f2", offset=file.tell()).reshape(shape)  # all of the rest, no less and no more
        if not np.isfinite(latent).all():
            raise ValueError("not finite")
        return latent
    except Exception as error:
        raise DataError(f"{path}: the latent of sample {sample.key!r} is not readable ({error})") from error


class Latents:
    """Painted latents in memory: float16 (n, C, h, w), scaled, and the facts of each."""

    def __init__(self, values: torch.Tensor, facts: list[dict[str, Any]]):
        self.values, self.facts = values, facts

    def __len__(self) -> int:
        return len(self.facts)


def load_latents(folder: Place, belongs: Callable[[dict[str, Any]], bool] = lambda facts: True) -> Latents:
    """The committed latents of ``folder`` whose facts ``belongs`` accepts; others are not decoded.

    :class:`DataError` where it holds none at all, images, or latents of several shapes.
    """
    records = read_records(folder)
    if not sum(record["samples"] for record in records):
        raise DataError(f"{folder} holds no committed latents; run `dogfast generate --output-kind latent` first")
    values, facts = [], []
    for path, sample in chosen_samples(folder, records, belongs):
        values.append(decode_latent(path, sample))
        facts.append(sample.facts)
        if values[-1].shape != values[0].shape:
            raise DataError(f"{path}: the latent of sample {sample.key!r} is of another shape than the first one's")
    stacked = np.stack(values) if values else np.empty((0, 0, 0, 0), np.float16)
    return Latents(torch.from_numpy(stacked), facts)
