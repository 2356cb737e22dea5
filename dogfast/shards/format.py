"""What a shard of outliers is: names, the fields of a sample, the fields of a record.

A shard is a tar of pairs ``<key>.png`` (``.jpg``, or ``.npy`` for a latent) and ``<key>.json``; a key is the shard's five digits and the
sample's four. The json holds facts of the plan only, with constant keys and types and no nulls, so that the bytes of a
tar are a function of the plan. What may differ between machines (software, engine, rows, seconds) stands in the record.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

JPEG_ABOVE_PX = 64
"""Images up to this side are stored as PNG, larger ones as JPEG of quality 95, 4:4:4."""

NPY = "npy"
"""The suffix of a latent; every other is an image's."""

ID_CONTROL = "id-control"
"""The source of ID-class images as the generator paints them."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The json beside an image or a latent, of which ``width`` and ``height`` are its positions."""

    key: str
    cls: int
    class_name: str
    strategy: str
    anchor: str
    synset: str
    prompt: str
    condition: int
    seed: int
    status: str
    attempt: int
    width: int
    height: int
    recipe: str
    steps: int
    guidance_scale: float
    resize: str
    model: str
    model_revision: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Sample:
    """One member pair: an image or latent as a file, its suffix, and the facts."""

    facts: dict[str, Any]
    content: bytes
    suffix: str

    @property
    def key(self) -> str:
        return self.facts["key"]


MAX_SAMPLES, MAX_SHARDS = 10_000, 100_000
"""A key has four digits for the place in a shard, and five for the shard."""


def sample_key(shard: int, index: int) -> str:
    return f"{shard:05d}{index:04d}"


def shard_of(key: str) -> int:
    """The shard in which `sample_key` put an outlier."""
    return int(key[:5])


def tar_name(shard: int) -> str:
    return f"train-{shard:05d}.tar"


def record_name(shard: int) -> str:
    return f"{shard:05d}.json"
