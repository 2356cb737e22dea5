"""Refusal of corrupted ID images, on a classifier that sees brightness alone."""

import math

import pytest
import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.data.codec import Lossless
from dogfast.data.corruptions import SEVERITIES
from dogfast.data.images import ImageSet
from dogfast.detection.corrupted import corrupted_refusal, to_corrupt
from dogfast.errors import DataError

HEAD = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)


def images_of(n):
    """Grey images, darker ones of class 1."""
    labels = torch.arange(n) % 2
    pixels = (200 - 100 * labels)[:, None, None, None].expand(n, 3, 8, 8).to(torch.uint8).contiguous()
    return ImageSet(pixels, labels, tuple(f"test/{'ab'[k % 2]}/{k}" for k in range(n)), ("bright", "dark"))


def look(images):
    features = images.float().mean((1, 2, 3))[:, None] / 255 - 0.6
    return Evidence(features @ HEAD[0].T, features, *HEAD)


def test_rows_are_every_corruption_under_every_score():
    seen = []

    def noting(images):
        seen.append(images)
        return look(images)

    scores = {"up": lambda e: e.features[:, 0], "down": lambda e: -e.features[:, 0]}
    rows = corrupted_refusal(noting, images_of(10), Lossless(), scores, {"up": 0.0, "down": 0.0})
    assert [(r["corruption"], r["severity"], r["score"]) for r in rows] == [(*each, s) for each in SEVERITIES for s in scores]
    assert len(seen) == len(SEVERITIES) and torch.equal(seen[0], images_of(10).images)
    for row in rows:
        assert (row["n"], row["id_accuracy"], row["refused"]) == (10, 1.0, 0.5), "flat images stay about as bright as they were"


def test_the_share_refused_is_that_below_the_threshold():
    rows = corrupted_refusal(look, images_of(8), Lossless(), {"up": lambda e: e.features[:, 0]}, {"up": 0.5})
    assert {row["refused"] for row in rows} == {1.0}


def test_nan_is_refused_naming_the_corruption():
    with pytest.raises(DataError, match="ID images, none: 4 of 4"):
        corrupted_refusal(look, images_of(4), Lossless(), {"up": lambda e: e.features[:, 0] * math.nan}, {"up": 0.0})


def test_the_images_that_are_corrupted_are_a_function_of_keys_and_of_all_classes():
    images = images_of(400)
    some = to_corrupt(images, 100)
    assert len(some) == 100 and 30 < int(some.labels.sum()) < 70
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0)).tolist()
    assert set(to_corrupt(images.rows(order), 100).keys) == set(some.keys)
    assert to_corrupt(images, 1000).keys == images.keys
