"""Batched crops and mirrors: each result is a window of its own padded image."""

import pytest
import torch
from torch.nn import functional as F

from dogfast.data.augment import Draws, random_crop_flip, to_unit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draws(n, seed=0, rows=slice(None)):
    return Draws(seeded(seed), n, rows)


def noise(n, height=8, width=8):
    return torch.randint(1, 256, (n, 3, height, width), dtype=torch.uint8, generator=seeded(9))


def windows(image, pad):
    """Every (offset, mirrored) view of one padded image."""
    padded, (_, height, width) = F.pad(image, (pad,) * 4), image.shape
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            view = padded[:, top : top + height, left : left + width]
            yield (top, left, False), view
            yield (top, left, True), view.flip(-1)


@pytest.mark.parametrize("height, width, pad", [(8, 8, 1), (6, 10, 2)])
def test_each_image_is_a_window_of_itself(height, width, pad):
    images = noise(40, height, width)
    result = random_crop_flip(images, pad, draws(40))
    assert result.shape == images.shape and result.dtype == torch.uint8
    found = [next(k for k, view in windows(a, pad) if torch.equal(view, b)) for a, b in zip(images, result)]
    assert len(set(found)) > 10 and 5 < sum(mirrored for *_, mirrored in found) < 35


def test_every_offset_and_both_directions_occur():
    image = noise(1)
    result = random_crop_flip(image.expand(600, -1, -1, -1), 1, draws(600))
    assert {tuple(r.flatten().tolist()) for r in result} == {tuple(v.flatten().tolist()) for _, v in windows(image[0], 1)}


def test_without_padding_images_are_only_mirrored():
    images = noise(30)
    result = random_crop_flip(images, 0, draws(30))
    assert all(torch.equal(b, a) or torch.equal(b, a.flip(-1)) for a, b in zip(images, result))


def test_the_generator_decides():
    images = noise(16)
    assert torch.equal(random_crop_flip(images, 2, draws(16, 1)), random_crop_flip(images, 2, draws(16, 1)))
    assert not torch.equal(random_crop_flip(images, 2, draws(16, 1)), random_crop_flip(images, 2, draws(16, 2)))


def test_some_rows_are_augmented_as_with_all_the_others():
    images = noise(16)
    some = random_crop_flip(images[4:8], 2, draws(16, 1, slice(4, 8)))
    assert torch.equal(some, random_crop_flip(images, 2, draws(16, 1))[4:8])
    assert torch.equal(draws(9, 1, slice(3, 5)).uniform(images.device, 2), draws(9, 1).uniform(images.device, 2)[3:5])


def test_the_input_is_left_alone():
    images = noise(4)
    before = images.clone()
    random_crop_flip(images, 2, draws(4))
    to_unit(images)
    assert torch.equal(images, before)


def test_unit_range():
    images = torch.arange(256, dtype=torch.uint8)
    unit = to_unit(images)
    assert unit.dtype == torch.float32 and torch.equal((unit * 255).round().to(torch.uint8), images)
    assert unit[0] == 0 and unit[255] == 1
