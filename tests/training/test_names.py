"""What a classifier is called."""

import pytest

from dogfast.config.training import TrainingConfig
from dogfast.training.names import classifier_name, start_name


@pytest.mark.parametrize(
    "fields, name, start",
    [
        ({}, "dog", "ce"),
        ({"objective": "ce"}, "ce", "ce"),
        ({"objective": "ce", "outliers": "noise"}, "ce", "ce"),
        ({"objective": "oe"}, "oe", "ce"),
        ({"objective": "oe", "outliers": "noise"}, "oe+noise", "ce"),
        ({"outliers": "renders", "train_seed": 1}, "dog+renders@1", "ce@1"),
        ({"objective": "ce", "train_seed": 2}, "ce@2", "ce@2"),
        ({"objective": "oe", "outliers": "/data/sets/renders"}, "oe+renders", "ce"),
        ({"objective": "oal"}, "oal", "ce"),
        ({"objective": "oal", "outliers": "dog-latent"}, "oal", "ce"),
        ({"objective": "oal", "outliers": "boundary-latent", "train_seed": 1}, "oal+boundary@1", "ce@1"),
        ({"objective": "oe", "outliers": "../other/renders/"}, "oe+renders", "ce"),
        ({"round": 2}, "dog~2", "dog"),
        (
            {"objective": "oe", "outliers": "textual-near-ood", "round": 3, "train_seed": 1},
            "oe+textual-near-ood~3@1",
            "oe+textual-near-ood~2@1",
        ),
    ],
    ids=str,
)
def test_names_follow_objective_source_and_seed(fields, name, start):
    config = TrainingConfig(**fields)
    assert (classifier_name(config), start_name(config)) == (name, start)


@pytest.mark.parametrize("place", [".", "../x/.", "./"])
def test_a_relative_folder_gives_its_own_name(tmp_path, monkeypatch, place):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    assert classifier_name(TrainingConfig(objective="oe", outliers=place)) == "oe+x"
