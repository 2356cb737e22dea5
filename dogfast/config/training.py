"""How the classifier is trained, and on which outliers."""

from dataclasses import dataclass

from dogfast.config.option import one_of, option, require
from dogfast.config.synthesis import LATENT_SUFFIX

OBJECTIVES = ("ce", "oe", "energy-oe", "doe", "dog", "oal", "atom", "poem", "vos", "npos", "csi", "confgan", "supcon")
START, SCRATCH = "ce", "scratch"
TRACKERS = ("tensorboard", "wandb")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    objective: str = option("dog", f"training method: {', '.join(OBJECTIVES)}")
    outliers: str = option(
        "dog", "outliers to learn from: a source of the run, noise, renders (shapes only) or a folder of shards or images"
    )
    id_synthetic: float = option(
        0.0,
        "share of the ID images of a tuning that the generator painted (source id-control), against learning its handwriting",
    )
    backbone: str = option(
        "wrn-40-2",
        "wrn-DEPTH-WIDTH, resnet-18, resnet-34, resnet-50, or a transformers image classifier as hf:FOLDER or hf:OWNER/NAME",
    )
    weights: str = option("", "file of weights that training from scratch (ce, say) begins with: safetensors")
    allow_pickle: bool = option(
        False, "let --weights be a .pt or .pth file, read by torch's restricted reader (weights_only)", identity=False
    )
    dropout: float = option(0.3, "dropout inside the blocks of a wrn")
    start: str = option("auto", "what the training starts from: ce, scratch, or what the method's paper does (auto)")
    pretrain_epochs: int | None = option(
        None, "epochs from scratch; 0 takes given weights as they are; default: the method's own, 100 for ce"
    )
    pretrain_lr: float | None = option(None, "first learning rate from scratch; default: the method's own, 0.1 for ce")
    epochs: int | None = option(None, "epochs of tuning; default: the method's own, 10 for oe and dog")
    lr: float | None = option(None, "first learning rate of the tuning; default: the method's own, 0.001 for oe and dog")
    batch: int | None = option(None, "ID images a step, over all processes; default: the method's own, 128 for oe and dog")
    ood_batch: int | None = option(None, "outliers a step, over all processes; default: the method's own, 256 for oe and dog")
    oe_weight: float | None = option(
        None, "weight of the outlier loss; default: the method's own, 0.5 for oe, 1 for dog (its gamma)"
    )
    momentum: float = option(0.9, "Nesterov momentum")
    weight_decay: float | None = option(None, "weight decay; default: the method's own, 5e-4 for oe and dog")
    accumulate: int = option(1, "parts a step is computed in, one after another, where memory is short")
    ema: float = option(0.0, "decay of an average of the weights that is kept in their place; 0 keeps the weights")
    follow: bool = option(
        False,
        "begin with the shards that are committed while `generate` still paints, and take in the others",
        identity=False,
        kept=False,
    )
    window_mb: int = option(1024, "decoded outliers held at once; a set that fits is read once", identity=False)
    compile: str = option("auto", "torch.compile: auto (on a GPU), on or off", identity=False)
    checkpoint_minutes: float = option(5.0, "minutes between checkpoints", identity=False)
    track: tuple[str, ...] = option((), "trackers that get the metrics too: tensorboard, wandb", identity=False)
    tune: tuple[str, ...] = option(
        (),
        "FIELD=VALUE,VALUE of the training; the best by validation images is kept; may be repeated",
        identity=False,
        kept=False,
    )
    train_precision: str = option("auto", "auto, fp32, bf16 or fp16; master weights are always fp32")
    round: int = option(
        0,
        "round of `refine` that is meant: on what was painted until then, from the classifier of the round before; 0 = on all",
        kept=False,
    )
    train_seed: int = option(0, "seed of the training; not the first is written into the classifier's name")

    def __post_init__(self) -> None:
        one_of(self.objective, OBJECTIVES, "--objective")
        one_of(self.start, ("auto", START, SCRATCH), "--start")
        one_of(self.compile, ("auto", "on", "off"), "--compile")
        one_of(self.train_precision, ("auto", "fp32", "bf16", "fp16"), "--train-precision")
        for name in self.track:
            one_of(name, TRACKERS, "--track")
        require(
            self.objective != "oal" or self.start != SCRATCH,
            "--objective oal learns from the starting classifier as its teacher; leave --start at auto",
        )
        require(
            self.outliers.removesuffix(LATENT_SUFFIX) != "id-control",
            "--outliers id-control are images of the ID classes; mix them in with --id-synthetic",
        )
        require(0 <= self.dropout < 1, "--dropout must lie in [0, 1)")
        require(0 <= self.id_synthetic <= 0.9, f"--id-synthetic {self.id_synthetic} must lie between 0 and 0.9")
        published = self.backbone.startswith("hf:")
        require(
            not (self.weights and published),
            f"--weights {self.weights}: --backbone {self.backbone} brings its own; leave one out",
        )
        _at_least(self, "pretrain_epochs", 0 if self.weights or published else 1)
        for flag in ("epochs", "ood_batch"):
            _at_least(self, flag, 1)
        _at_least(self, "batch", 2)
        for flag in ("pretrain_lr", "lr"):
            value = getattr(self, flag)
            require(value is None or value > 0, f"--{flag.replace('_', '-')} must be positive")
        for flag in ("oe_weight", "weight_decay"):
            _at_least(self, flag, 0)
        require(0 <= self.momentum < 1, "--momentum must lie in [0, 1)")
        require(self.accumulate >= 1, "--accumulate must be at least 1")
        require(0 <= self.ema < 1, "--ema must lie in [0, 1)")
        require(self.window_mb >= 1, "--window-mb must be at least 1")
        require(self.checkpoint_minutes >= 0, "--checkpoint-minutes must not be negative")
        require(self.round >= 0, "--round must not be negative")
        require(0 <= self.train_seed < 2**53, "--train-seed must lie between 0 and 2^53")


def _at_least(config: TrainingConfig, field: str, least: int) -> None:
    value = getattr(config, field)
    require(value is None or value >= least, f"--{field.replace('_', '-')} must be at least {least}")
