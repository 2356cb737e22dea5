"""Which scores are computed on which test sets, by whose protocol, and what is kept of it."""

from dataclasses import dataclass

from dogfast.config.option import one_of, option, require

SCORES = (
    "msp", "maxlogit", "energy", "odin", "ash-s", "ash-b", "ash-p", "react", "scale", "mahalanobis", "knn", "vim",
)  # fmt: skip

FULL, ENERGY_OOD, OPENOOD = PROTOCOLS = ("full", "energy_ood", "openood")
FEATURE_KINDS = ("off", "fp32", "fp16")
FITTING = ("ash_percentile", "knn_share")
"""Fields that decide how a score is fitted."""


@dataclass(frozen=True, kw_only=True)
class DetectionConfig:
    scores: tuple[str, ...] = option(("msp", "energy", "ash-s"), f"post-hoc scores, of {', '.join(SCORES)}; may be repeated")
    ood: tuple[str, ...] = option(
        (),
        "OOD test sets, NAME, NAME=PATH or suite:cifar, suite:imagenet, suite:openood; may be repeated; default: by class set",
    )
    ood_images: int = option(0, "images of each OOD set at most; 0 = all (procedural sets then paint 2000)")
    protocol: str = option(
        FULL,
        "full: all images; energy_ood: besides, 10 draws of a fifth as many OOD as ID images, as that line of work reports; "
        "openood: besides, OOD as the positive class and means of near and far sets",
    )
    protocol_seed: int = option(0, "seed of the draws of --protocol energy_ood")
    corrupted_images: int = option(
        500, "ID test images that are blurred, noised and JPEG-coded, 7 ways in all, to count the refused; 0 = none"
    )
    keep_features: str = option(
        "off", "features and logits of every set as files: off, fp32 (a later evaluate takes them as they are) or fp16"
    )
    ash_percentile: int = option(0, "share of a feature that ASH removes, percent; 0 = chosen on validation")
    knn_share: float = option(1.0, "share of the ID training images among which knn looks for neighbours")

    def __post_init__(self) -> None:
        for score in self.scores:
            one_of(score, SCORES, "--scores")
        require(bool(self.scores), "--scores is empty")
        require(self.ood_images >= 0, "--ood-images must not be negative")
        require(0 <= self.ash_percentile < 100, "--ash-percentile must lie between 0 and 99")
        require(0 < self.knn_share <= 1, "--knn-share must lie above 0 and at most at 1")
        one_of(self.protocol, PROTOCOLS, "--protocol")
        require(0 <= self.protocol_seed < 2**53, "--protocol-seed must lie between 0 and 2^53")
        require(self.corrupted_images >= 0, "--corrupted-images must not be negative")
        one_of(self.keep_features, FEATURE_KINDS, "--keep-features")
