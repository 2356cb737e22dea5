"""The one way to a square: which filter, how much of an image, and what is left as it is."""

import numpy as np
import pytest
from PIL import Image

from dogfast.data.resize import WHOLE, Resize
from dogfast.data.sets import SETS

BILINEAR = Resize("bilinear", share=0.875)


def picture(width=96, height=64, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("resize, filter", [(BILINEAR, Image.Resampling.BILINEAR), (WHOLE, Image.Resampling.BICUBIC)])
def test_the_filter_is_the_one_that_is_named(resize, filter):
    """A single bright line tells filters apart by how far it spreads, and by whether there is a dark edge beside it."""
    line = Image.new("RGB", (64, 64))
    line.paste((255, 255, 255), (31, 0, 33, 64))
    found = pixels(resize.squared(line, 32))
    assert np.array_equal(found, pixels(line.resize((32, 32), filter)))
    others = {Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST} - {filter}
    assert all(not np.array_equal(found, pixels(line.resize((32, 32), other))) for other in others)


@pytest.mark.parametrize("width, height, side, margin", [(96, 64, 32, 0), (64, 96, 32, 0), (512, 256, 112, 8)])
def test_it_is_the_whole_image_resized_and_then_cut(width, height, side, margin):
    """As torchvision's Resize and CenterCrop, here where both sides divide."""
    image, shorter = picture(width, height), side + 2 * margin
    scaled = image.resize((width * shorter // min(image.size), height * shorter // min(image.size)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - side) // 2, (scaled.height - side) // 2
    expected = scaled.crop((left, top, left + side, top + side))
    assert np.array_equal(pixels(BILINEAR.squared(image, side)), pixels(expected))


def test_large_squares_are_cut_out_of_a_margin():
    """At 224 px ImageNet's protocol brings the shorter side to 256 and cuts the centre; at 64 px all of it is kept."""
    image = Image.new("RGB", (512, 512), (255, 0, 0))
    image.paste((0, 255, 0), (30, 30, 482, 482))
    assert set(map(tuple, pixels(BILINEAR.squared(image, 224)).reshape(-1, 3))) == {(0, 255, 0)}
    assert pixels(BILINEAR.squared(image, 64))[0, 0].tolist() == [255, 0, 0]
    assert pixels(WHOLE.squared(image, 224))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("resize", [WHOLE, BILINEAR])
@pytest.mark.parametrize("size", [(32, 32), (33, 32), (32, 57), (224, 224), (224, 300)])
def test_what_fits_is_left_as_it_is(resize, size):
    image, side = picture(*size), min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    assert np.array_equal(pixels(resize.squared(image, side)), pixels(image)[top : top + side, left : left + side])


def test_the_crops_of_lsun_are_freed_of_their_frame():
    resize = SETS["lsun-c"].resize
    crop = picture(32, 32)
    framed = Image.new("RGB", (36, 36))
    framed.paste(crop, (2, 2))
    for image in (crop, framed):
        assert np.array_equal(pixels(resize.squared(image, 32)), pixels(crop))
    scene = picture(300, 200)
    assert np.array_equal(pixels(resize.squared(scene, 32)), pixels(BILINEAR.squared(scene, 32))), "a whole scene is no crop"


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (5000, 3), (31, 90)])
@pytest.mark.parametrize("side", [16, 96])
def test_any_size_becomes_a_square(size, side):
    for resize in (WHOLE, BILINEAR, SETS["lsun-c"].resize):
        assert resize.squared(picture(*size), side).size == (side, side)


def test_a_long_strip_costs_no_more_than_a_square(monkeypatch):
    made = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, *a, **k: (made.append(size), resize(self, size, *a, **k))[1])
    BILINEAR.squared(picture(20_000, 2), 512)
    assert made == [(512, 512)]


def test_what_is_done_is_told():
    assert BILINEAR.says(32).startswith("bilinear, shorter side to 32 px, centre of 32 px")
    assert BILINEAR.says(224).startswith("bilinear, shorter side to 256 px, centre of 224 px")
    assert SETS["lsun-c"].resize.says(32).startswith("centre of 32 px, then bilinear")
    assert WHOLE.says(224).startswith("bicubic, shorter side to 224 px")
