"""The dataset card beside the shards, in the Hugging Face form."""

from __future__ import annotations

import json
from typing import Any

from dogfast.shards.format import ID_CONTROL

OUTLIER_USE = "They show what the ID classes are *not*: use them to train a classifier to refuse, never as examples of a class."
CONTROL_USE = (
    "They show the ID classes as the generator paints them: use them to tell its handwriting from content, never as outliers."
)


def card(classes: str, source: str, model: str, revision: str, records: list[dict[str, Any]]) -> str:
    """README.md of a source: what it holds, how it was made, and how to read it."""
    images = sum(record["samples"] for record in records)
    size = next(label for limit, label in _SIZES if images < limit)
    head = {
        "license": "other",
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "out-of-distribution", "webdataset"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train-*.tar"}]}],
    }
    title, use = ("ID classes of", CONTROL_USE) if source == ID_CONTROL else ("Outliers for", OUTLIER_USE)
    yaml = "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items())
    return f"""---
{yaml}---
# {title} {json.dumps(classes, ensure_ascii=False)}, source `{source}`

{images} images in {len(records)} tars, painted by dogfast with the generator {json.dumps(model, ensure_ascii=False)} (revision {revision}).
{use}

Each sample is `<key>.png` or `<key>.jpg` and `<key>.json` (class it was painted for, anchor word, prompt, seed, recipe).
`records/` holds the SHA-256 of every tar, the software, and counts of images that were refused or painted again.

The terms of the generator's weights apply to its images; its biases show in them.
"""


_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (float("inf"), "10M<n<100M"),
)
