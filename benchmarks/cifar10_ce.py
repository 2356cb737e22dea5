"""The starting classifier on real CIFAR-10: `python benchmarks/cifar10_ce.py DATA` writes benchmarks/results/cifar10-ce.json.

DATA holds cifar10-train.tar, cifar10-test.tar and tiny-imagenet32-val.tar. A small, stated budget, not the papers' 100 epochs.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from dogfast.config.presets import preset
from dogfast.detection.table import format_table
from dogfast.environment import choose_training_precision, hardware
from dogfast.events import Events, plain_lines
from dogfast.run import launch, publish, to_json, versions
from dogfast.workflows.chain import run_evaluate, run_train

RESULTS = Path(__file__).parent / "results"
ID_IMAGES, EPOCHS = 10_000, 5


def main(data: str) -> None:
    config = preset("cifar10").with_values(
        {
            "data": {"data": (f"cifar10={data}",), "id_images": ID_IMAGES},
            "training": {"objective": "ce", "pretrain_epochs": EPOCHS, "dropout": 0.0},
            "detection": {"ood": (f"tiny-imagenet={data}/tiny-imagenet32-val.tar", "gaussian", "rademacher", "blobs")},
        },
        "benchmark",
    )
    with TemporaryDirectory() as place, launch(Path(place) / "cifar10", config.to_toml()) as run:
        events = Events(plain_lines(sys.stderr))
        trained = run_train(config, run, events)
        measured = run_evaluate(config, run, events)
    print(format_table({"ce": (measured["id_accuracy"], measured["rows"])}))
    result = {key: measured[key] for key in ("name", "id_accuracy", "rows", "ash_percentile", "ash_reason", "codec")}
    result["budget"] = (
        f"{config.training.backbone}, {ID_IMAGES} training images, {EPOCHS} epochs, {trained['seconds']:.0f} seconds"
    )
    result["hardware"] = hardware(choose_training_precision("auto", "cpu").value)
    publish(RESULTS / "cifar10-ce.json", to_json(result | {"train_img_per_s": trained["img_per_s"], "versions": versions()}))


if __name__ == "__main__":
    main(sys.argv[1])
