"""Outliers that CLIP takes for ID images: refused, painted again, counted."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dogfast.engines.networks import Networks
from dogfast.synthesis.id_check import id_check

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))
WORDS = ("circle", "ring", "oval", "frame")


class Tokenizer:
    model_max_length = 4

    def __call__(self, prompts, **options):
        return {"input_ids": torch.tensor([[WORDS.index(prompt.split()[-1])] * 4 for prompt in prompts])}


PIPELINE = SimpleNamespace(tokenizer=Tokenizer())


def networks():
    """Texts are unit vectors; an image is what its first row of pixels says."""
    texts = lambda ids: (torch.zeros(len(ids), 4, 2), torch.eye(4)[ids[:, 0]])  # noqa: E731
    return Networks(texts, lambda images: images[:, 0, 0, :4].float(), *[None] * 6, "fake", "cpu", "fp32")


def condition(class_name, anchor):
    return {"cls": 0, "class_name": class_name, "strategy": "dog", "anchor": anchor}


CONDITIONS = [condition("circle", "oval"), condition("ring", "frame"), condition("ring", "oval")]


def image(*shares):
    picture = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    picture[0, 0, 0, :4] = torch.tensor(shares, dtype=torch.uint8)
    return picture


@pytest.mark.parametrize(
    "row, shares, refused",
    [
        (0, (10, 0, 90, 0), False),
        (0, (90, 0, 10, 0), True),
        (0, (0, 90, 10, 0), True),  # another ID class than the one it was painted for
        (0, (0, 0, 10, 90), False),  # another outlier word is no ID class
        (1, (10, 0, 90, 20), False),
        (2, (50, 0, 50, 0), False),  # a draw is no ID image
    ],
)
def test_an_image_is_refused_when_an_id_name_is_nearer_than_its_word(row, shares, refused):
    check = id_check(PIPELINE, networks(), "a photo of a {}", CONDITIONS)
    assert check(image(*shares), [row]).tolist() == [refused]


def test_every_image_is_compared_with_its_own_word():
    check = id_check(PIPELINE, networks(), "a photo of a {}", CONDITIONS)
    pictures = torch.cat([image(20, 0, 0, 90), image(20, 0, 0, 90)])
    assert check(pictures, [1, 0]).tolist() == [False, True]
