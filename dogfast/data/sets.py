"""Every data set that dogfast knows by name: what it is, how much of it there is, and what its images go through."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from dogfast.config.option import require
from dogfast.data import noises, shapes
from dogfast.data.resize import WHOLE, Resize

Painter = Callable[[str, int, int], np.ndarray]
"""(split, index, side in pixels) to uint8 (side, side, 3)."""


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Where the Hugging Face hub has a set: repository and configuration, the splits to learn from and to test on, two columns.

    Several splits are joined by a plus.
    """

    repo: str
    config: str = "default"
    train: str = ""
    test: str = "test"
    image: str = "image"
    label: str = "label"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """``origin``: authors, year, title. ``native``: how large its images are. ``test_images``: what its test part holds.

    ``protocols``: how many of these the protocols take (methods differ in which). ``test_parts``: what the test part may be
    called, first choice first. A set has either files or a ``painter``, which paints as many images as are wanted.
    """

    origin: str
    licence: str
    native: str = "any size"
    train_images: int = 0
    test_images: int = 0
    protocols: dict[str, int] = field(default_factory=dict)
    resize: Resize = WHOLE
    test_parts: tuple[str, ...] = ("test", "t10k", "validation", "valid", "val")
    hub: Hub | None = None
    painter: Painter | None = None


def _words(words: tuple[str, ...]) -> Painter:
    return lambda split, index, side: shapes.render(words[index % len(words)], split, 0, index, side)


AS_PUBLISHED = Resize("bilinear", share=0.875)
"""torchvision's Resize and CenterCrop, which the protocols use: 32 and 32 for CIFAR, 256 and 224 for ImageNet."""
LABELLED = ("val", "validation", "valid", "test")
"""Where the published test part has no labels, the validation part is what methods are tested on."""

_IMAGENET = "Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge"
_IMAGENET_TERMS = "images belong to their owners; ImageNet's terms allow non-commercial research"
_IMAGENET_HUB = Hub(repo="ILSVRC/imagenet-1k", train="train", test="validation")
_CIFAR = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
_NO_TERMS = "no licence stated by its authors; research use is customary"
_LSUN = "Yu et al. 2015, LSUN: Construction of a Large-scale Image Dataset using Deep Learning with Humans in the Loop"
_ODIN = "of Liang et al. 2018 (ODIN)"
_MOS = "selection of Huang and Li 2021 (MOS)"
_NOISE = "Hendrycks et al. 2019, Deep Anomaly Detection with Outlier Exposure"
_OURS = "painted by dogfast, under its licence"

SETS: dict[str, DataSet] = {
    # --- classes to learn, and OOD sets of one another ---
    "cifar10": DataSet(
        origin=_CIFAR, licence=_NO_TERMS, native="32 px", train_images=50_000, test_images=10_000, resize=AS_PUBLISHED,
        protocols={"openood": 9_000},
        hub=Hub(repo="uoft-cs/cifar10", config="plain_text", train="train", image="img"),
    ),
    "cifar100": DataSet(
        origin=_CIFAR, licence=_NO_TERMS, native="32 px", train_images=50_000, test_images=10_000, resize=AS_PUBLISHED,
        protocols={"openood": 9_000},
        hub=Hub(repo="uoft-cs/cifar100", config="cifar100", train="train", image="img", label="fine_label"),
    ),
    "imagenet": DataSet(
        origin=_IMAGENET, licence=_IMAGENET_TERMS, train_images=1_281_167, test_images=50_000, resize=AS_PUBLISHED,
        protocols={"openood": 45_000}, test_parts=LABELLED, hub=_IMAGENET_HUB,
    ),
    "imagenet-100": DataSet(
        origin=f"{_IMAGENET}; classes of Tian et al. 2020 (CMC)", licence=_IMAGENET_TERMS, train_images=126_689,
        test_images=5_000, resize=AS_PUBLISHED, test_parts=LABELLED, hub=_IMAGENET_HUB,
    ),
    "imagenet-200": DataSet(
        origin=f"{_IMAGENET}; classes of Hendrycks et al. 2021 (ImageNet-R)", licence=_IMAGENET_TERMS, train_images=258_951,
        test_images=10_000, resize=AS_PUBLISHED, protocols={"openood": 9_000}, test_parts=LABELLED, hub=_IMAGENET_HUB,
    ),
    "tiny-imagenet": DataSet(
        origin=f"{_IMAGENET}; Stanford CS231n, 500 images a class at 64 px", licence=_IMAGENET_TERMS, native="64 px",
        train_images=100_000, test_images=10_000, resize=AS_PUBLISHED, test_parts=LABELLED,
        protocols={"openood beside cifar10": 7_793, "openood beside cifar100": 6_526},
        hub=Hub(repo="zh-plus/tiny-imagenet", train="train", test="valid"),
    ),
    # --- OOD sets of files ---
    "svhn": DataSet(
        origin="Netzer et al. 2011, Reading Digits in Natural Images with Unsupervised Feature Learning",
        licence="for non-commercial use", native="32 px", test_images=26_032, resize=AS_PUBLISHED,
        protocols={"atom, poem": 10_000}, hub=Hub(repo="ufldl-stanford/svhn", config="cropped_digits"),
    ),
    "lsun-c": DataSet(
        origin=f"{_LSUN}; crops {_ODIN}", licence=_NO_TERMS, native="crops of 32 px; of slightly larger copies the centre",
        test_images=10_000, resize=Resize("bilinear", share=0.875, centre_px=32), hub=Hub(repo="detectors/lsun_c-ood", test="train"),
    ),
    "lsun-r": DataSet(
        origin=f"{_LSUN}; resized copies {_ODIN}", licence=_NO_TERMS, native="32 px, resized by its authors with artefacts",
        test_images=10_000, resize=AS_PUBLISHED, hub=Hub(repo="detectors/lsun_r-ood", test="train"),
    ),
    "isun": DataSet(
        origin=f"Xu et al. 2015, TurkerGaze: Crowdsourcing Saliency with Webcam based Eye Tracking; resized copies {_ODIN}",
        licence=_NO_TERMS, native="32 px, resized by its authors with artefacts", test_images=8_925, resize=AS_PUBLISHED,
        hub=Hub(repo="detectors/isun-ood", test="train"),
    ),
    "textures": DataSet(
        origin="Cimpoi et al. 2014, Describing Textures in the Wild (DTD, all of its parts)", licence="for research purposes",
        native="300 to 640 px", test_images=5_640, resize=AS_PUBLISHED, protocols={"openood beside imagenet": 5_160},
        test_parts=(), hub=Hub(repo="tanganke/dtd", test="train+test"),
    ),
    "places365": DataSet(
        origin="Zhou et al. 2018, Places: A 10 Million Image Database for Scene Recognition", native="256 px or more",
        licence="images belong to their owners; for non-commercial research and education", test_images=36_500,
        resize=AS_PUBLISHED, test_parts=LABELLED,
        protocols={"mos": 10_000, "openood beside cifar10": 35_195, "openood beside cifar100": 33_773, "energy_ood": 328_500},
    ),
    "inaturalist": DataSet(
        origin=f"Van Horn et al. 2018, The iNaturalist Species Classification and Detection Dataset; {_MOS}",
        licence="photographers' own licences; for non-commercial research", test_images=10_000, resize=AS_PUBLISHED,
    ),
    "sun": DataSet(
        origin=f"Xiao et al. 2010, SUN Database: Large-scale Scene Recognition from Abbey to Zoo; {_MOS}",
        licence="images belong to their owners; research use is customary", test_images=10_000, resize=AS_PUBLISHED,
    ),
    "mnist": DataSet(
        origin="LeCun et al. 1998, Gradient-based Learning Applied to Document Recognition", licence="CC BY-SA 3.0, as commonly stated",
        native="28 px, grey: the same in three channels", test_images=10_000, resize=AS_PUBLISHED,
        protocols={"openood": 70_000}, hub=Hub(repo="ylecun/mnist", config="mnist"),
    ),
    "ssb-hard": DataSet(
        origin="Vaze et al. 2022, Open-Set Recognition: A Good Closed-Set Classifier Is All You Need", licence=_IMAGENET_TERMS,
        test_images=49_000, resize=AS_PUBLISHED,
    ),
    "ninco": DataSet(
        origin="Bitterwolf et al. 2023, In or Out? Fixing ImageNet Out-of-Distribution Detection Evaluation",
        licence="images keep the licences of their origins; for research", test_images=5_879, resize=AS_PUBLISHED,
    ),
    "openimage-o": DataSet(
        origin="Wang et al. 2022, ViM: Out-of-Distribution with Virtual-logit Matching; images of OpenImages",
        licence="photographers' CC BY 2.0", test_images=17_632, resize=AS_PUBLISHED, protocols={"openood": 15_869},
    ),
    # --- painted: no files ---
    "shapes": DataSet(origin="dogfast's shapes, all words", licence=_OURS, painter=_words(tuple(shapes.FIGURES))),
    "held-out-shapes": DataSet(origin="dogfast's shapes, words kept for tests", licence=_OURS, painter=_words(shapes.TEST_WORDS)),
    "validation-shapes": DataSet(
        origin="dogfast's shapes, words kept for validation", licence=_OURS, painter=_words(shapes.VALIDATION_WORDS)
    ),
    "glyphs": DataSet(origin="dogfast's shapes, letters, digits and signs", licence=_OURS, painter=shapes.render_glyph),
    "stripes": DataSet(origin="dogfast's shapes, stripes", licence=_OURS, painter=shapes.render_stripes),
    "checkers": DataSet(origin="dogfast's shapes, checkers", licence=_OURS, painter=shapes.render_checkers),
    "gaussian": DataSet(origin=f"{_NOISE}; Gaussian noise", licence=_OURS, painter=noises.gaussian),
    "rademacher": DataSet(origin=f"{_NOISE}; Rademacher noise", licence=_OURS, painter=noises.rademacher),
    "blobs": DataSet(origin=f"{_NOISE}; blobs", licence=_OURS, painter=noises.blobs),
    "noise": DataSet(origin=f"{_NOISE}; the three noises in turn", licence=_OURS, painter=noises.mixed),
}  # fmt: skip

NEAR: dict[str, tuple[str, ...]] = {
    "shapes": ("held-out-shapes", "validation-shapes"),
    "cifar10": ("cifar100", "tiny-imagenet"),
    "cifar100": ("cifar10", "tiny-imagenet"),
    "imagenet": ("ssb-hard", "ninco"),
    "imagenet-100": ("ssb-hard", "ninco"),
    "imagenet-200": ("ssb-hard", "ninco"),
}
"""OOD sets of the ID data's own kind, by ID set, as OpenOOD v1.5 has them (imagenet-100, which it lacks, as imagenet); the others are far."""

PUBLISHED = "published"
SUITE = "suite:"
SUITES: dict[str, tuple[str, ...]] = {
    "cifar": ("textures", "svhn", "places365", "lsun-c", "isun"),
    "imagenet": ("inaturalist", "sun", "places365", "textures"),
}
"""OOD sets of the DOG paper's tables."""
OPENOOD = "openood"
FAR_IN_OPENOOD: dict[str, tuple[str, ...]] = {
    "cifar10": ("mnist", "svhn", "textures", "places365"),
    "cifar100": ("mnist", "svhn", "textures", "places365"),
    "imagenet": ("inaturalist", "textures", "openimage-o"),
    "imagenet-200": ("inaturalist", "textures", "openimage-o"),
}
"""Zhang et al. 2023, OpenOOD v1.5: Enhanced Benchmark for Out-of-Distribution Detection; its near sets are those of `NEAR`."""


def group_of(name: str, classes: str) -> str:
    """Whether the OOD set ``name`` is ``near`` or ``far`` beside the ID set ``classes``."""
    return "near" if name in NEAR.get(classes, ()) else "far"


def suite(name: str, classes: str) -> tuple[str, ...]:
    """The OOD sets of the suite ``name`` beside ``classes``; :class:`UsageError` where there is none."""
    if name == OPENOOD:
        known = ", ".join(FAR_IN_OPENOOD)
        require(
            classes in FAR_IN_OPENOOD, f"--ood {SUITE}{OPENOOD} has no sets beside --classes {classes}, only beside: {known}"
        )
        return NEAR[classes] + FAR_IN_OPENOOD[classes]
    known = ", ".join(SUITE + each for each in (*SUITES, OPENOOD))
    require(name in SUITES, f"--ood {SUITE}{name} is unknown; choose one of: {known}")
    return SUITES[name]


def suites_with(name: str) -> list[str]:
    """The suites that the set ``name`` is part of."""
    openood = any(name in NEAR[classes] + far for classes, far in FAR_IN_OPENOOD.items())
    return [SUITE + each for each, sets in SUITES.items() if name in sets] + ([SUITE + OPENOOD] if openood else [])


def expected_counts(name: str, part: str = "test") -> dict[str, int]:
    """How many images ``part`` of the set ``name`` may hold, by who counts: as published, or as a protocol takes them.

    ``part``: "train", "test", or "all" of a set that is not divided. Empty for painted and unknown sets.
    """
    known = SETS.get(name)
    if known is None or known.painter:
        return {}
    count = {"train": known.train_images, "test": known.test_images, "all": known.train_images + known.test_images}[part]
    return ({PUBLISHED: count} if count else {}) | (known.protocols if part == "test" else {})
