"""Shards made by hand, good and bad. Read through `runpy` (test modules are not importable by name)."""

import hashlib
import io
import json
import tarfile

import numpy as np
from PIL import Image

from dogfast.run import publish, to_json
from dogfast.shards.format import Facts, record_name, sample_key, tar_name
from dogfast.shards.writer import commit_shard, encode_sample


def image(number=0, side=8, width=None):
    return np.random.default_rng(number).integers(0, 256, (side, width or side, 3), dtype=np.uint8)


def facts(shard=0, index=0, side=8, width=None, **changes):
    plain = dict(
        key=sample_key(shard, index),
        cls=1,
        class_name="ring/of ☃",
        strategy="dog",
        anchor="bullseye",
        synset="",
        prompt="a photo of a bullseye",
        condition=3,
        seed=2**53 - 1,
        status="ok",
        attempt=0,
        width=width or side,
        height=side,
        recipe="quality",
        steps=20,
        guidance_scale=4.0,
        resize="none",
        model="tiny",
        model_revision="r0",
    )
    return Facts(**plain | changes)


def samples(shard=0, count=3, side=8, **changes):
    return [encode_sample(image(n, side), facts(shard, n, side, **changes)) for n in range(count)]


def latent(number=0, side=8, width=None):
    return np.random.default_rng(number).standard_normal((4, side, width or side)).astype(np.float16)


def commit_latents(folder, shard=0, count=3, side=8, **changes):
    """A shard of latents, as `generate --output-kind latent` commits it."""
    values = [latent(10 * shard + n, side) for n in range(count)]
    packed = [encode_sample(value, facts(shard, n, side, **changes)) for n, value in enumerate(values)]
    pixels = hashlib.sha256(b"".join(value.tobytes() for value in values))
    return commit_shard(folder, shard, packed, pixels, {"failed": 0, "seconds": 0.5, "kind": "latent"})


def commit(folder, shard=0, count=3, side=8, **changes):
    return commit_shard(folder, shard, samples(shard, count, side, **changes), hashlib.sha256(), {"failed": 0, "seconds": 0.5})


def png(array=None):
    buffer = io.BytesIO()
    Image.fromarray(image() if array is None else array).save(buffer, "PNG")
    return buffer.getvalue()


def text(**changes):
    """The json of a good sample, with ``changes``."""
    return json.dumps(facts().to_dict() | changes).encode()


def pair(body=None, content=None, key="000000000"):
    return [(f"{key}.json", text() if body is None else body), (f"{key}.png", png() if content is None else content)]


def pack(members, format=tarfile.USTAR_FORMAT):
    """A tar of ``members``: (name, bytes) pairs, or ready TarInfos with their bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, body in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = info.size or len(body)
            tar.addfile(info, io.BytesIO(body) if info.isreg() else None)
    return buffer.getvalue()


def plant(folder, content, shard=0, **record):
    """A committed shard of any ``content``; ``record`` replaces fields of its record."""
    publish(folder / tar_name(shard), content)
    honest = {
        "shard": shard,
        "tar": tar_name(shard),
        "samples": 1,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    publish(folder / "records" / record_name(shard), to_json(honest | record))
    return folder / tar_name(shard)
