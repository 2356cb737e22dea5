"""What a comparison begins with: the settings of the embedded world, the auxiliary images and test sets of a class set, its seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.training.sources import RENDERS
from dogfast.workflows.comparison.published import printed_sets

SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    # Meant for three quarters of an hour of two cores, in which nine sources are painted and 22 classifiers trained: the preset with
    # fewer updates of pseudo-words, whose names are right, fewer outliers in fewer steps, and fewer epochs (methods from scratch
    # see as many images, `passes`). Queues and draws of the virtual outliers go by the 170 images a class has, a sixth of what
    # the papers' have; ConfGAN's networks are as narrow as the classifier.
    "shapes": {
        "concepts": {"inversion_steps": 60},
        "synthesis": {"m": 64, "steps": 10},
        "training": {"pretrain_epochs": 18, "epochs": 3},
        "objectives": {"virtual_queue": 160, "npos_boundary": 80, "npos_draws": 100, "confgan_channels": 16},
        "detection": {"ood": ("held-out-shapes", "glyphs", "stripes", "noise"), "corrupted_images": 0},
    },
}

AUXILIARY_OF = {"shapes": RENDERS}
"""Auxiliary images where ``--auxiliary`` names none: true pictures of words of the vocabulary."""

IMAGENET = ("imagenet", "imagenet-100", "imagenet-200")


def comparison_preset(classes: str) -> RunConfig:
    """The configuration that a comparison in a new run of ``classes`` starts from."""
    return preset(classes).with_values(SETTINGS.get(classes, {}), "compare")


def with_sets(config: RunConfig) -> RunConfig:
    """``config`` with the papers' test sets, in their order, where there are such and ``--ood`` names none."""
    printed = printed_sets("imagenet" if config.data.classes in IMAGENET else config.data.classes)
    return config.with_values({"detection": {"ood": config.detection.ood or printed}}, "the papers' test sets")


# --- seeds ------------------------------------------------------------------------------------------------------
def own_seed(config: RunConfig) -> int:
    """The seed of the run itself."""
    return config.training.train_seed


def seed_place(root: Path, config: RunConfig, seed: int) -> Path:
    """Anchors and outliers depend on the seed as classifiers do: each other seed is an ordinary run, in `seeds/<seed>`."""
    return root if seed == own_seed(config) else root / "seeds" / str(seed)


def of_seed(config: RunConfig, seed: int) -> RunConfig:
    """``config`` with ``seed`` in every stage; the run's own seed leaves its stages the seeds they have."""
    if seed == own_seed(config):
        return config
    seeds = {"concepts": {"concepts_seed": seed}, "synthesis": {"seed": seed}, "training": {"train_seed": seed}}
    return stored_apart(config.with_values(seeds, "--seeds"), f"seeds/{seed}")


def stored_apart(config: RunConfig, part: str) -> RunConfig:
    """``config`` for a run inside another: where ``--store`` names a place, it gets one of its own inside that."""
    store = config.synthesis.store
    return config.with_values({"synthesis": {"store": f"{store.rstrip('/')}/{part}"}}, "--store") if store else config
