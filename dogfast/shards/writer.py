"""Write a shard so that it is committed or absent: the tar first, its record last. The set of records is the state."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np
from PIL import Image

from dogfast.run import publish, to_json
from dogfast.shards.format import JPEG_ABOVE_PX, NPY, Facts, Sample, record_name, tar_name
from dogfast.shards.latents import encode_latent
from dogfast.store import Place


def encode_sample(content: np.ndarray, facts: Facts) -> Sample:
    """An image uint8 (H, W, 3) as PNG or JPEG by size, or a latent float16 (C, h, w) as NPY, with its facts."""
    if content.dtype == np.float16:
        return Sample(facts.to_dict(), encode_latent(content), NPY)
    buffer = io.BytesIO()
    if max(content.shape[:2]) <= JPEG_ABOVE_PX:
        Image.fromarray(content).save(buffer, "PNG", compress_level=6)
        suffix = "png"
    else:
        Image.fromarray(content).save(buffer, "JPEG", quality=95, subsampling=0)
        suffix = "jpg"
    return Sample(facts.to_dict(), buffer.getvalue(), suffix)


def tar_bytes(samples: list[Sample]) -> bytes:
    """A tar whose bytes depend on ``samples`` alone: fixed order, owner and times."""
    from webdataset import TarWriter

    buffer = io.BytesIO()
    with TarWriter(buffer, encoder=False, mtime=0, user="", group="") as tar:
        for sample in samples:
            facts = json.dumps(sample.facts, sort_keys=True, ensure_ascii=False).encode()
            tar.write({"__key__": sample.key, sample.suffix: sample.content, "json": facts})
    return buffer.getvalue()


def commit_shard(
    folder: Place, shard: int, samples: list[Sample], pixels: hashlib._Hash, facts: dict[str, Any]
) -> dict[str, Any]:
    """Publish the tar, then the record that makes it count. ``pixels`` has hashed every image or latent; ``facts`` go into the record."""
    content = tar_bytes(samples)
    publish(folder / tar_name(shard), content)
    record = {
        "shard": shard,
        "tar": tar_name(shard),
        "samples": len(samples),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "pixel_sha256": pixels.hexdigest(),
        **facts,
    }
    publish(folder / "records" / record_name(shard), to_json(record))
    return record
