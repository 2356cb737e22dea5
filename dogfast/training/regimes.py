"""How long and how fast each method trains: what its paper or release says, where the configuration says nothing."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from dogfast.config.objectives import ObjectivesConfig
from dogfast.config.option import require
from dogfast.config.training import SCRATCH, START, TrainingConfig


@dataclass(frozen=True)
class Regime:
    """One training: from where, how long, at which rate."""

    start: str
    """"ce", the starting classifier of the run, or "scratch"."""
    epochs: int
    lr: float
    batch: int
    ood_batch: int
    """Outliers a step; 0 for a method that makes its own or needs none."""
    oe_weight: float = 0.0
    """Weight of what is learned from outliers."""
    schedule: str = "cosine"
    """A name of :data:`~dogfast.training.optimizers.SCHEDULES`."""
    optimizer: str = "sgd"
    weight_decay: float = 5e-4

    def by_flag(self) -> dict[str, Any]:
        """Its fields under the names of the flags that set them, without those of outliers where there are none."""
        fields = {
            name: value for name, value in dataclasses.asdict(self).items() if value or name not in ("ood_batch", "oe_weight")
        }
        fresh = ("epochs", "lr") if self.start == SCRATCH else ()
        return {f"pretrain_{name}" if name in fresh else name: value for name, value in fields.items()}


_TUNED = Regime(START, 10, 1e-3, 128, 256)
_FRESH = Regime(SCRATCH, 100, 0.1, 128, 0)

REGIMES: dict[str, Regime] = {
    "ce": _FRESH,
    "oe": dataclasses.replace(_TUNED, oe_weight=0.5),
    "energy-oe": dataclasses.replace(_TUNED, oe_weight=0.1),
    "doe": dataclasses.replace(_TUNED, oe_weight=1.0, lr=1e-2),
    "dog": dataclasses.replace(_TUNED, oe_weight=1.0),
    "oal": dataclasses.replace(_TUNED, oe_weight=0.1, lr=5e-3, epochs=100, ood_batch=128),
    "atom": dataclasses.replace(_FRESH, batch=64, ood_batch=128, oe_weight=1.0, schedule="steps", weight_decay=1e-4),
    "poem": dataclasses.replace(_FRESH, batch=64, ood_batch=64, oe_weight=0.1, schedule="steps", weight_decay=1e-4),
    "vos": dataclasses.replace(_FRESH, oe_weight=0.1),
    "npos": dataclasses.replace(_FRESH, epochs=500, lr=0.5, batch=256, oe_weight=0.1, weight_decay=1e-4),
    "csi": dataclasses.replace(_FRESH, epochs=700, schedule="warm-cosine", optimizer="lars", weight_decay=1e-6),
    "confgan": dataclasses.replace(_FRESH, lr=2e-4, oe_weight=1.0, schedule="one-step", optimizer="adam", weight_decay=0.0),
    "supcon": dataclasses.replace(_FRESH, epochs=500, lr=0.5, batch=512, schedule="warm-cosine", weight_decay=1e-4),
}
"""The regime of each method's own paper or release; `supcon` is the backbone of KNN+."""

OF_DATA: dict[str, dict[str, dict[str, Any]]] = {
    # Few steps at a high rate: the paper's gamma of 1 costs more than it brings. At that rate oal, whose divergence weighs
    # fourfold, unlearns its classes; it keeps its own.
    "shapes": {name: {"lr": 0.05} for name in ("oe", "energy-oe", "doe")} | {"dog": {"lr": 0.05, "oe_weight": 0.5}},
    "cifar10": {"confgan": {"oe_weight": 0.1, "batch": 64}},
    "cifar100": {"poem": {"epochs": 200, "schedule": "even-steps"}},
    "imagenet": {name: {"epochs": 4, "lr": 1e-4, "batch": 64, "ood_batch": 64} for name in ("oe", "energy-oe", "doe", "dog")},
}
"""Where one data set is trained on differently: by the papers, or for want of time."""


def regime_of(config: TrainingConfig, methods: ObjectivesConfig, classes: str) -> Regime:
    """The regime of ``config.objective`` on ``classes``, with what ``config`` says put over it.

    `pretrain_epochs` and `pretrain_lr` are those of training from scratch, `epochs` and `lr` those of tuning.
    Raises UsageError for no epochs where something is to be learned.
    """
    name = config.objective
    known = dataclasses.replace(REGIMES[name], **OF_DATA.get(classes, {}).get(name, {}))
    if config.start != "auto" and name != START:
        known = dataclasses.replace(known, start=config.start)
    fresh = known.start == SCRATCH
    wanted = {
        "epochs": config.pretrain_epochs if fresh else config.epochs,
        "lr": {"adam": methods.confgan_lr, "lars": None}.get(known.optimizer, config.pretrain_lr if fresh else config.lr),
        "batch": config.batch,
        "ood_batch": config.ood_batch if known.ood_batch else None,
        "oe_weight": config.oe_weight if known.oe_weight else None,
        "weight_decay": config.weight_decay,
    }
    regime = dataclasses.replace(known, **{key: value for key, value in wanted.items() if value is not None})
    require(
        regime.epochs > 0 or name == START,
        f"--pretrain-epochs 0 takes weights as they are, but --objective {name} trains from scratch; choose an epoch or more",
    )
    return regime
