"""What the proof on photographs stands on: which images are known, painted, learned from and strange, and at what scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini.vocabulary import concepts
from tiny_imagenet import parted, write_subset

from dogfast.config import RunConfig
from dogfast.config.detection import SCORES
from dogfast.config.presets import preset
from dogfast.config.training import START
from dogfast.data.catalogue import load_id
from dogfast.data.nouns import frozen_nouns
from dogfast.run import Run, publish, read_jsonl
from dogfast.workflows.comparison.rows import scores_of

HERE = Path(__file__).parents[1]
WORK = HERE.parent / "build" / "photographs"
MODEL = HERE / "mini" / "weights"

SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "gpu": {
        "data": {"id_images": 0},
        "synthesis": {"m": 5000},
        "training": {"backbone": "wrn-40-2", "pretrain_epochs": 100, "epochs": 10},
    },
    "cpu": {
        "data": {"id_images": 10_000},
        "synthesis": {"m": 1000},
        "training": {
            "backbone": "wrn-16-2",
            "dropout": 0.0,
            "pretrain_epochs": 15,
            "epochs": 4,
            "lr": 1e-2,
            "batch": 64,
            "ood_batch": 32,
        },
    },
}
"""Two cores tune for a fifth of the papers' steps, at ten times their rate, and in smaller batches, that there be more steps."""
CANDIDATES = 24
"""K of Eq. 5: a tenth of the words, where the paper has a hundredth of all nouns."""
PAINTED_ID = 0.3
"""Share of painted images among the ID images of a tuning, as in the preset of `shapes`; so many are painted that none repeats."""
STRANGERS, REAL, DECODED = "held-out", "real", "decoded"
"""What the tests, the auxiliary images, and these after `mini`'s autoencoder are called."""
FAR = ("shapes", "gaussian", "rademacher", "blobs")


@dataclass(frozen=True)
class World:
    """``data`` holds the tars, ``place`` all that is made of them; ``model`` paints."""

    data: Path
    setting: str
    place: Path = WORK
    model: Path = MODEL

    def of_seed(self, seed: int, variant: str = "") -> Path:
        """The run of a seed, or one inside it that needs another start, codec or recipe."""
        root = self.place / f"seed-{seed}"
        return root / "variants" / variant if variant else root

    @property
    def held_out(self) -> Path:
        return self.place / f"{STRANGERS}.tar"

    @property
    def words(self) -> Path:
        return self.place / "vocabulary.txt"

    def real(self, seed: int) -> Path:
        """Training images of classes that `mini` knows, and that no anchor of the seed shows."""
        return self.of_seed(seed) / f"{REAL}.tar"

    def decoded(self, seed: int) -> Path:
        return self.of_seed(seed) / f"{DECODED}.tar"

    def beside_rows(self, seeds: list[int]) -> list[int]:
        """The seeds of what stands beside the first table: on two cores the first alone."""
        return seeds if self.setting == "gpu" else seeds[:1]

    def prepare(self) -> None:
        """Write the words that may become anchors, and the test images of classes that `mini` has never seen."""
        self.place.mkdir(parents=True, exist_ok=True)
        if not self.words.exists():
            publish(self.words, "".join(f"{word}\n" for word in known_words()))
        if not self.held_out.exists():
            write_subset(self.data / "tiny-imagenet32-val.tar", parted()[1], self.held_out)

    def write_real(self, seed: int, run: Run) -> None:
        """The auxiliary images, once the anchors stand: at most about as many as are painted, of all classes alike."""
        if not self.real(seed).exists():
            folders = unpainted({row["word"] for row in read_jsonl(run.anchors)})
            config = self.config(seed)
            painted = config.synthesis.m * len(load_id(config.data).class_names)
            write_subset(self.data / "tiny-imagenet32-train.tar", folders, self.real(seed), -(-painted // len(folders)))

    def config(self, seed: int, objective: str = START, outliers: str = "dog") -> RunConfig:
        """What the classifier of ``objective`` on ``outliers`` is made with, and judged under."""
        values: dict[str, dict[str, Any]] = {
            "data": {"data": (f"cifar10={self.data}",)},
            "model": {"model": str(self.model)},
            "concepts": {"vocabulary": str(self.words), "top_k": CANDIDATES, "concepts_seed": seed},
            "synthesis": {"seed": seed},
            "training": {"train_seed": seed, "objective": objective, "id_synthetic": PAINTED_ID},
            "detection": {"ood": (f"{STRANGERS}={self.held_out}", *FAR), "corrupted_images": 0},
        }
        files = {REAL: self.real(seed), DECODED: self.decoded(seed)}
        values["training"]["outliers"] = str(files.get(outliers, outliers))
        values["detection"]["scores"] = scores_of(objective, SCORES)
        return preset("cifar10").with_values(SETTINGS[self.setting], "benchmark").with_values(values, "benchmark")


def known_words() -> list[str]:
    """WordNet's names of Tiny ImageNet's classes that `mini` learned."""
    nouns = frozen_nouns()
    return [name for each in concepts()[1] for name in each.names if nouns.senses_of(name)]


def unpainted(anchors: set[str]) -> list[str]:
    """Folders of the classes that `mini` learned, that show no class of CIFAR-10, and none of whose names is an anchor."""
    training = set(parted()[0])
    return [each.folder for each in concepts()[1] if each.folder in training and not anchors & set(each.names)]
