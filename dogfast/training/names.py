"""What a trained classifier is called: `<objective>`, `+<source>` where it is not `dog`, `~<round>` of `refine` and `@<seed>` where
they are not the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dogfast.config.synthesis import LATENT_SUFFIX
from dogfast.config.training import START, TrainingConfig
from dogfast.training.regimes import REGIMES


def classifier_name(config: TrainingConfig) -> str:
    """`dog`, `oe+noise`, `dog+renders@1`, `dog~2`; a folder is named by its last part, and so is a tar, without its suffix; latents are
    named as images are."""
    named = config.outliers.removesuffix(LATENT_SUFFIX)
    source = "" if not REGIMES[config.objective].ood_batch or named == "dog" else f"+{source_name(named)}"
    round_ = f"~{config.round}" if config.round > 1 else ""
    return f"{config.objective}{source}{round_}{_seed(config)}"


def source_name(outliers: str | Path) -> str:
    """What a source is called in names: the last part of a place, without the suffix of a tar."""
    return Path(outliers).resolve().name.removesuffix(".tar")


def baseline_name(config: TrainingConfig) -> str:
    """The classifier of this seed that has seen no outlier: the others are judged against it."""
    return f"{START}{_seed(config)}"


def start_name(config: TrainingConfig) -> str:
    """The classifier that a tuning starts from: the baseline, or that of the round before."""
    return classifier_name(replace(config, round=config.round - 1)) if config.round > 1 else baseline_name(config)


def _seed(config: TrainingConfig) -> str:
    return f"@{config.train_seed}" if config.train_seed else ""
