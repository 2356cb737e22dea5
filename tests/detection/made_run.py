"""A run of `shapes` with an untrained classifier: enough for a detector."""

from pathlib import Path

import torch

from dogfast.classifiers.backbones import build
from dogfast.classifiers.loading import save_classifier
from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.run import Run, publish

SIDE = 16
PLAIN = dict(mean=[0.5] * 3, std=[0.25] * 3, dropout=0.0)


def make_config(**sections) -> RunConfig:
    values = {"data": {"id_images": 80, "image_px": SIDE}, "model": {"device": "cpu"}, "training": {"objective": "ce"}}
    return RunConfig().with_values(values, "test").with_values(sections, "test")


def make_run(root: Path, **sections) -> Run:
    """A run of `make_config` with the classifiers `ce` and, with a class of outliers, `atom`."""
    run = Run(root)
    publish(run.root / "run.json", '{"stages": {}}')
    publish(run.config_file, make_config(**sections).to_toml())
    add_classifier(run, "ce")
    add_classifier(run, "atom", seed=1, rejection=True)
    return run


def add_classifier(run: Run, name: str, seed: int = 0, rejection: bool = False) -> None:
    from dogfast.classifiers.loading import extend

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build("wrn-10-1", shapes.ID_WORDS, PLAIN["mean"], PLAIN["std"])
        torch.nn.init.normal_(model.head.weight)
        model = extend(model, rejection=rejection, rotations=False)
    facts = {"backbone": "wrn-10-1", "class_names": list(shapes.ID_WORDS), "image_px": SIDE, "rejection": rejection}
    save_classifier(run.classifier(name), model, PLAIN | facts)
