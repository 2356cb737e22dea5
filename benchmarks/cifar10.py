"""Real outliers on real CIFAR-10: `python benchmarks/cifar10.py DATA` writes benchmarks/results/cifar10.json.

DATA holds cifar10-train.tar, cifar10-test.tar, tiny-imagenet32-train.tar and tiny-imagenet32-val.tar (class/number.jpg). The
starting classifier from scratch, then `oe`, `energy-oe` and `doe` on Tiny ImageNet's training classes; tested on the 40 classes
that are held out of them by hash. A small, stated budget, not the papers' 100 epochs.
"""

import sys
from pathlib import Path

from tiny_imagenet import parted, write_subset

from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.detection.summary import format_table
from dogfast.environment import choose_training_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import launch, publish, read_json, to_json, versions
from dogfast.training.names import classifier_name
from dogfast.workflows.chain import run_evaluate

RESULT = Path(__file__).parent / "results" / "cifar10.json"
WORK = Path(__file__).parents[1] / "build" / "cifar10"
OBJECTIVES = ("ce", "oe", "energy-oe", "doe")
BUDGET = {"backbone": "wrn-16-2", "dropout": 0.0, "pretrain_epochs": 12, "epochs": 2, "ood_batch": 128}
ID_IMAGES = 10_000
PUBLISHED = {
    "ce, msp": "50 / 91",
    "ce, energy": "33 / 92",
    "oe": "5 to 10 / 98 to 99",
    "energy-oe": "3 to 4 / 98.9",
    "doe": "4 to 5 / 98.8",
}
"""FPR95 / AUROC of the papers: WRN-40-2, 100 epochs, all images, five far test sets, 300,000 or 100,000 real outliers."""


def settings(data: str, objective: str, outliers: Path, held_out: Path) -> RunConfig:
    values = {
        "data": {"data": (f"cifar10={data}",), "id_images": ID_IMAGES},
        "training": BUDGET | {"objective": objective, "outliers": str(outliers)},
        "detection": {"ood": (f"held-out={held_out}", "shapes", "gaussian", "rademacher", "blobs")},
    }
    return preset("cifar10").with_values(values, "benchmark")


def main(data: str) -> None:
    training, held_out, _ = parted()
    WORK.mkdir(parents=True, exist_ok=True)
    outliers, tests = WORK / "tiny-imagenet.tar", WORK / "held-out.tar"
    counts = [
        write_subset(Path(data) / "tiny-imagenet32-train.tar", training, outliers),
        write_subset(Path(data) / "tiny-imagenet32-val.tar", held_out, tests),
    ]
    events, found, records = Events(plain_lines(sys.stderr)), {}, {}
    with launch(WORK / "run", settings(data, "ce", outliers, tests).to_toml()) as run:
        for objective in OBJECTIVES:
            config = settings(data, objective, outliers, tests)
            found[objective] = run_evaluate(config, run, events)
            records[objective] = read_json(run.classifier(classifier_name(config.training)) / "train.json")
    print(format_table({name: (each["id_accuracy"], each["rows"]) for name, each in found.items()}))
    result = {
        "evaluations": {name: {key: each[key] for key in ("id_accuracy", "rows")} for name, each in found.items()},
        "training": {name: {key: each[key] for key in ("seconds", "img_per_s")} for name, each in records.items()},
        "budget": BUDGET | {"id_images": ID_IMAGES},
        "outliers": counts[0],
        "held_out": {"classes": held_out, "images": counts[1]},
        "published": PUBLISHED,
        "hardware": hardware(choose_training_precision("auto", "cpu").value),
        "versions": versions(),
    }
    publish(RESULT, to_json(result))


if __name__ == "__main__":
    main(sys.argv[1])
