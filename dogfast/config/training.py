"""How the classifier is trained, and on which outliers (DOG Eq. 8 and 9)."""

from dataclasses import dataclass

from dogfast.config.option import one_of, option, require

OBJECTIVES = ("ce", "oe", "dog")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    objective: str = option("dog", "training method: ce, oe or dog")
    outliers: str = option(
        "dog", "outliers to learn from: a source of the run, noise, renders (shapes only) or a folder of shards; unused by ce"
    )
    id_synthetic: float = option(
        0.0,
        "share of the ID images of a tuning that the generator painted (source id-control), against learning its handwriting",
    )
    backbone: str = option("wrn-40-2", "wide residual network as wrn-DEPTH-WIDTH")
    dropout: float = option(0.3, "dropout inside the blocks while ce is trained and tuned")
    pretrain_epochs: int = option(100, "epochs of ce, the starting classifier")
    pretrain_lr: float = option(0.1, "peak learning rate of ce")
    epochs: int = option(10, "epochs of tuning with outliers")
    lr: float = option(1e-2, "first learning rate of the tuning; cosine to 1e-6")
    batch: int = option(128, "ID images a step")
    ood_batch: int = option(256, "outliers a step")
    oe_weight: float | None = option(None, "weight of the outlier loss; default: 0.5 for oe (its paper), 1 for dog (gamma)")
    momentum: float = option(0.9, "Nesterov momentum")
    weight_decay: float = option(5e-4, "weight decay")
    wor_step: str = option("joint", "dog: ID and outlier gradients in one step (joint, Eq. 9) or two (alternate, as DOE)")
    wor_sign: str = option("ascend", "dog: move the weights up (ascend) or down (descend, as DOE's release) the regret")
    wor_strengths: tuple[float, ...] = option(
        (0.1, 0.01, 0.001, 0.0001), "dog: strengths alpha drawn from, relative to a weight's norm"
    )
    wor_smoothing: float = option(0.6, "dog: part of the former perturbation that is kept")
    wor_warmup: int = option(0, "dog: epochs without perturbation first")
    train_precision: str = option("auto", "auto, fp32 or bf16; master weights are always fp32")
    train_seed: int = option(0, "seed of the training; not the first is written into the classifier's name")

    def __post_init__(self) -> None:
        one_of(self.objective, OBJECTIVES, "--objective")
        one_of(self.wor_step, ("joint", "alternate"), "--wor-step")
        one_of(self.wor_sign, ("ascend", "descend"), "--wor-sign")
        one_of(self.train_precision, ("auto", "fp32", "bf16"), "--train-precision")
        require(
            self.outliers != "id-control", "--outliers id-control are images of the ID classes; mix them in with --id-synthetic"
        )
        require(0 <= self.dropout < 1, "--dropout must lie in [0, 1)")
        require(self.pretrain_epochs >= 1 and self.epochs >= 1, "--pretrain-epochs and --epochs must be at least 1")
        require(0 <= self.id_synthetic <= 0.9, f"--id-synthetic {self.id_synthetic} must lie between 0 and 0.9")
        require(self.pretrain_lr > 0 and self.lr > 0, "--pretrain-lr and --lr must be positive")
        require(self.batch >= 2, "--batch must be at least 2 (batch normalisation)")
        require(self.ood_batch >= 1, "--ood-batch must be at least 1")
        require(self.oe_weight is None or self.oe_weight >= 0, "--oe-weight must not be negative")
        require(0 <= self.wor_smoothing < 1, "--wor-smoothing must lie in [0, 1)")
        require(bool(self.wor_strengths) and min(self.wor_strengths) > 0, "--wor-strengths must be positive")
        require(0 <= self.momentum < 1, "--momentum must lie in [0, 1)")
        require(self.weight_decay >= 0, "--weight-decay must not be negative")
        require(0 <= self.train_seed < 2**53, "--train-seed must lie between 0 and 2^53")
        require(self.wor_warmup >= 0, "--wor-warmup must not be negative")
