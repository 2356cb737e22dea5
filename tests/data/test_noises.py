"""The noises: functions of split and index, with the statistics their papers give."""

import numpy as np
import pytest

from dogfast.data.noises import blobs, gaussian, keyed_generator, mixed, rademacher

ALL = (gaussian, rademacher, blobs, mixed)


@pytest.mark.parametrize("noise", ALL)
def test_a_function_of_its_key(noise):
    image = noise("test", 4, 32)
    assert image.dtype == np.uint8 and image.shape == (32, 32, 3)
    assert np.array_equal(image, noise("test", 4, 32))
    assert not np.array_equal(image, noise("test", 7, 32)) and not np.array_equal(image, noise("val", 4, 32))


@pytest.mark.parametrize("noise", ALL)
@pytest.mark.parametrize("side", [8, 65])
def test_any_side(noise, side):
    assert noise("test", 0, side).shape == (side, side, 3)


def test_gaussian_is_standard_normal_around_the_middle():
    pixels = np.stack([gaussian("test", i, 32) for i in range(20)])
    assert abs((pixels == 0).mean() - 0.3085) < 0.01 and abs((pixels == 255).mean() - 0.3085) < 0.01
    assert abs(pixels.mean() - 127.5) < 2


def test_rademacher_has_two_values_and_independent_channels():
    pixels = np.stack([rademacher("test", i, 32) for i in range(20)])
    assert set(np.unique(pixels)) == {0, 255} and abs(pixels.mean() - 127.5) < 2
    assert abs(np.corrcoef(pixels[..., 0].ravel(), pixels[..., 1].ravel())[0, 1]) < 0.03


def test_blobs_are_smooth_and_cut():
    image = blobs("test", 0, 32)
    assert 0.2 < (image == 0).mean() < 0.8
    assert image[image > 0].min() > 60, "what is left lies above the mean of the blurred noise"


def test_mixed_takes_turns():
    for index, noise in enumerate((gaussian, rademacher, blobs)):
        assert np.array_equal(mixed("test", index, 16), noise("test", index, 16))


def test_generators_of_different_names_differ():
    draws = {keyed_generator(*key).integers(2**62) for key in (("a", "x", 0), ("b", "x", 0), ("a", "y", 0), ("a", "x", 1))}
    assert len(draws) == 4 and keyed_generator("a", "x", 0).integers(2**62) in draws
