"""What a class set needs that is not the general default: applied where neither a file nor a flag says otherwise."""

from __future__ import annotations

from typing import Any

from dogfast.config.resolve import RunConfig

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # Small enough for two cores of a laptop and a few minutes.
    "shapes": {
        "data": {"id_images": 1500},
        # 36 words are all near: K is a third of them, and lambda drops none.
        "concepts": {"inversion_steps": 100, "top_k": 12, "anchor_quantile": 1.0},
        "synthesis": {"m": 192, "samples_per_shard": 384, "steps": 15},
        "training": {
            "backbone": "wrn-16-1",
            "dropout": 0.0,
            "id_synthetic": 0.3,
            "pretrain_epochs": 30,
            "pretrain_lr": 0.05,
            "epochs": 6,
            "batch": 32,
            "ood_batch": 32,
        },
        # Few steps at a high rate: the paper's strength of 0.1 costs more than it brings.
        "objectives": {"wor_strengths": (0.01, 0.001, 0.0001)},
        "detection": {"ood_images": 1000},
    },
    # The papers' setting: as many outliers as ID images, and all of these.
    "cifar10": {"synthesis": {"m": 5000}, "data": {"id_images": 0}},
}


def preset(classes: str) -> RunConfig:
    """The configuration a new run of ``classes`` starts from."""
    config = RunConfig().with_values(PRESETS.get(classes, {}), "preset")
    return config.with_values({"data": {"classes": classes}}, "preset")
