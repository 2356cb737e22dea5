"""The dataset card beside the shards, in the Hugging Face form."""

from __future__ import annotations

import json
from typing import Any

from dogfast.config.synthesis import IMAGE, LATENT, fields_of
from dogfast.shards.format import ID_CONTROL

OUTLIER_USE = "They show what the ID classes are *not*: use them to train a classifier to refuse, never as examples of a class."
CONTROL_USE = (
    "They show the ID classes as the generator paints them: use them to tell its handwriting from content, never as outliers."
)
IMAGE_MEMBERS = "Each sample is `<key>.png` or `<key>.jpg` and `<key>.json`"
LATENT_MEMBERS = """A latent is what the generator's VAE decodes to an image, and was never decoded. It is scaled to about unit variance: divide
it by the `scaling_factor` in the generator's `vae/config.json`, then let that VAE decode it.

Each sample is `<key>.npy`, float16 (channels, height, width), and `<key>.json`"""


def card(classes: str, source: str, model: str, revision: str, records: list[dict[str, Any]], output_kind: str = IMAGE) -> str:
    """README.md of a source: what it holds, how it was made, and how to read it."""
    count = sum(record["samples"] for record in records)
    size = next(label for limit, label in _SIZES if count < limit)
    head = {
        "license": "other",
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "out-of-distribution", "webdataset"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train-*.tar"}]}],
    }
    control = fields_of(source)["strategy"] == ID_CONTROL
    title, use = ("ID classes of", CONTROL_USE) if control else ("Outliers for", OUTLIER_USE)
    members = LATENT_MEMBERS if output_kind == LATENT else IMAGE_MEMBERS
    yaml = "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items())
    return f"""---
{yaml}---
# {title} {json.dumps(classes, ensure_ascii=False)}, source `{source}`

{count} {output_kind}s in {len(records)} tars, painted by dogfast with the generator {json.dumps(model, ensure_ascii=False)} (revision {revision}).
{use}

{members} (class it was painted for, anchor word, prompt, seed, recipe).
`records/` holds the SHA-256 of every tar, the software, and counts of {output_kind}s that were refused or painted again.

The terms of the generator's weights apply to its {output_kind}s; its biases show in them.
"""


_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (float("inf"), "10M<n<100M"),
)
