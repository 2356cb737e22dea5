"""What a trained classifier is called: `<objective>`, `+<source>` where it is not `dog`, `@<seed>` where it is not the first."""

from __future__ import annotations

from pathlib import Path

from dogfast.config.synthesis import LATENT_SUFFIX
from dogfast.config.training import TrainingConfig
from dogfast.training.regimes import REGIMES


def classifier_name(config: TrainingConfig) -> str:
    """`dog`, `oe+noise`, `dog+renders@1`; a folder is named by its last part, and so is a tar, without its suffix; latents are
    named as images are."""
    named = config.outliers.removesuffix(LATENT_SUFFIX)
    source = "" if not REGIMES[config.objective].ood_batch or named == "dog" else f"+{source_name(named)}"
    return f"{config.objective}{source}{_seed(config)}"


def source_name(outliers: str | Path) -> str:
    """What a source is called in names: the last part of a place, without the suffix of a tar."""
    return Path(outliers).resolve().name.removesuffix(".tar")


def start_name(config: TrainingConfig) -> str:
    """The classifier every tuning of this seed starts from."""
    return f"ce{_seed(config)}"


def _seed(config: TrainingConfig) -> str:
    return f"@{config.train_seed}" if config.train_seed else ""
