"""Batched crops and mirrors: each result is a window of its own padded image."""

import pytest
import torch
from torch.nn import functional as F

from dogfast.data.augment import PART_AREA, Draws, random_crop_flip, random_window, recolour, to_unit, two_views


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
    two_views(images, draws(4))
    to_unit(images)
    assert torch.equal(images, before)


def test_unit_range():
    images = torch.arange(256, dtype=torch.uint8)
    unit = to_unit(images)
    assert unit.dtype == torch.float32 and torch.equal((unit * 255).round().to(torch.uint8), images)
    assert unit[0] == 0 and unit[255] == 1


# --- windows ----------------------------------------------------------------------------------------------------
def floats(n, size=8):
    return torch.rand(n, 3, size, size, generator=seeded(5))


def test_a_window_is_a_part_of_its_image_of_the_wanted_area():
    """Coordinates are shown as colours: what a view shows says where it was cut."""
    size = 64
    middle = (torch.arange(size) + 0.5) / size
    across, down = middle.expand(size, size), middle[:, None].expand(size, size)
    views = random_window(torch.stack([across, down, across]).expand(300, -1, -1, -1), (0.2, 0.5), draws(300))
    step = (views[:, 0, 0, 33] - views[:, 0, 0, 32]) * size
    height = (views[:, 1, 33, 0] - views[:, 1, 32, 0]) * size
    area, shape = step.abs() * height, step.abs() / height
    assert 0.19 < area.min() < 0.23 and 0.47 < area.max() < 0.51
    assert 0.74 < shape.min() < 0.8 and 1.25 < shape.max() < 1.34 and 100 < (step < 0).sum() < 200
    left, top = views[:, 0].amin((1, 2)), views[:, 1].amin((1, 2))
    assert left.min() < 0.03 and (left + step.abs()).max() > 0.97 and top.min() < 0.03 and 0 <= views.min() and views.max() <= 1


class Same:
    """Draws that are all the same."""

    def __init__(self, value, n):
        self.value, self.n = value, n

    def uniform(self, device, columns=1):
        return torch.full((self.n, columns), self.value)


def test_the_whole_of_an_image_is_a_window():
    images = floats(20)
    torch.testing.assert_close(random_window(images, (1.0, 1.0), Same(0.5, 20)), images)
    mirrored = random_window(images, (1.0, 1.0), Same(0.4999999, 20))
    torch.testing.assert_close(mirrored, images.flip(-1), atol=1e-4, rtol=0)


def test_windows_of_a_large_area_are_drawn_again_until_they_fit():
    """Nothing is cut off: width and height are alike, and no part of the image is preferred."""
    size = 64
    middle = (torch.arange(size) + 0.5) / size
    ramps = torch.stack([middle.expand(size, size), middle[:, None].expand(size, size)] + [torch.zeros(size, size)])
    views = random_window(ramps.expand(600, -1, -1, -1), PART_AREA, draws(600))
    width = ((views[:, 0, 0, 33] - views[:, 0, 0, 32]) * size).abs()
    height = (views[:, 1, 33, 0] - views[:, 1, 32, 0]) * size
    area, shape = width * height, width / height
    assert 0.08 <= area.min() < 0.12 and 0.9 < area.max() < 1.001 and 0.45 < area.mean() < 0.54
    assert 0.74 < shape.min() < 0.77 and 1.3 < shape.max() < 1.34 and abs(shape.log().mean()) < 0.02
    assert ((width > 0.999) | (height > 0.999)).float().mean() < 0.02
    for line in (views[:, 0].mean((1, 2)), views[:, 1].mean((1, 2))):
        assert 0.47 < line.mean() < 0.53 and line.std() > 0.08


def test_windows_of_some_rows_are_those_of_all():
    images = floats(16)
    whole = random_window(images, PART_AREA, draws(16, 1))
    assert not torch.equal(whole, random_window(images, PART_AREA, draws(16, 2)))
    torch.testing.assert_close(random_window(images[4:8], PART_AREA, draws(16, 1, slice(4, 8))), whole[4:8])


def test_nothing_beyond_the_border_is_seen():
    flat = torch.full((64, 3, 8, 8), 0.75)
    torch.testing.assert_close(random_window(flat, PART_AREA, draws(64)), flat)


# --- views for contrastive learning -----------------------------------------------------------------------------
def test_colours_that_are_not_to_change_do_not():
    images, one = floats(3), torch.ones(3)
    torch.testing.assert_close(recolour(images, one, one, one, 0 * one), images, atol=1e-5, rtol=0)


def test_brightness_contrast_saturation_and_hue():
    images, one = floats(2), torch.ones(2)
    luma = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    near = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(recolour(images, 0.6 * one, one, one, 0 * one), 0.6 * images, **near)
    torch.testing.assert_close(recolour(images, one, one, 0 * one, 0 * one), luma.expand(-1, 3, -1, -1), **near)
    flat = luma.mean((2, 3), keepdim=True)
    torch.testing.assert_close(recolour(images, one, 0.5 * one, one, 0 * one), 0.5 * images + 0.5 * flat, **near)
    turned_ = recolour(0.2 * images + 0.4, one, one, one, 0.25 * one)
    again = recolour(turned_, one, one, one, 0.75 * one)
    assert (turned_ - (0.2 * images + 0.4)).abs().max() > 0.02
    torch.testing.assert_close(again, 0.2 * images + 0.4, atol=1e-3, rtol=0)
    assert recolour(images, 9 * one, one, one, 0 * one).max() == 1


def test_a_fifth_of_the_views_is_grey_and_a_fifth_keeps_its_colours():
    views = two_views(
        torch.full((400, 3, 8, 8), 100, dtype=torch.uint8) + torch.tensor([100, 0, 50])[:, None, None].byte(), draws(400)
    )
    assert views.shape == (400, 2, 3, 8, 8) and 0 <= views.min() and views.max() <= 1
    grey = (views.amax(2) - views.amin(2)).amax((2, 3)) < 1e-3
    kept = (views - torch.tensor([200, 100, 150])[:, None, None] / 255).abs().amax((2, 3, 4)) < 1e-3
    assert 0.15 < grey.float().mean() < 0.25 and 0.11 < kept.float().mean() < 0.21
    assert 0.02 < grey.all(1).float().mean() < 0.07


def test_some_views_are_those_they_are_with_all_the_others():
    images = noise(16)
    some = two_views(images[4:8], draws(16, 1, slice(4, 8)))
    torch.testing.assert_close(some, two_views(images, draws(16, 1))[4:8], atol=1e-6, rtol=0)
