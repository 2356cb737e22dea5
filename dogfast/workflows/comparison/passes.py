"""How much training a method gets: images through the network, counted as it sees them.

Every view counts, every outlier, every step of an attack on it; a second look of `dog` and `doe` at the same batch does not, nor
does the look at a pool that `atom` and `poem` choose from.
"""

from __future__ import annotations

from dogfast.config import RunConfig
from dogfast.config.training import SCRATCH, START
from dogfast.training.regimes import Regime, regime_of

VIEWS = {"supcon": 2, "npos": 2, "csi": 8, "confgan": 2}
"""What stands for one ID image in a step: two views, each in four rotations; with an image of the generator."""
ATTACKED = 1 / 2
"""Part of the outliers that `atom` attacks."""
TUNED = "dog"
"""The tuning whose images, with those of its start, are what a method from scratch is given."""


def passes_of(config: RunConfig, id_images: int) -> float:
    """Images through the network in one training of ``config`` on ``id_images`` ID images; a start's not among them."""
    settings, regime = config.training, _regime(config)
    share = settings.id_synthetic if settings.objective != START else 0.0
    outliers = regime.ood_batch / regime.batch
    if settings.objective == "atom" and config.objectives.atom_epsilon:
        outliers *= 1 + ATTACKED * config.objectives.atom_attack_steps
    return regime.epochs * id_images / (1 - share) * (VIEWS.get(settings.objective, 1) + outliers)


def passes_given(config: RunConfig, id_images: int) -> float:
    """Images that the starting classifier and a tuning of it see."""
    return sum(passes_of(_with(config, objective=objective), id_images) for objective in (START, TUNED))


def at_equal_passes(config: RunConfig, id_images: int) -> RunConfig:
    """``config`` with as many epochs from scratch as give its method the images of `passes_given`.

    Only where ``--pretrain-epochs`` says how long training from scratch takes: else every method trains as its paper says.
    """
    one_epoch = _with(config, pretrain_epochs=1)
    if config.training.pretrain_epochs is None or config.training.objective == START or _regime(one_epoch).start != SCRATCH:
        return config
    return _with(config, pretrain_epochs=max(1, round(passes_given(config, id_images) / passes_of(one_epoch, id_images))))


def _regime(config: RunConfig) -> Regime:
    return regime_of(config.training, config.objectives, config.data.classes)


def _with(config: RunConfig, **training: object) -> RunConfig:
    return config.with_values({"training": training}, "equal images")
