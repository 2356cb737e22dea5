"""Corruptions of images: each against its definition, and each a function of the image and its key."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve1d

from dogfast.data.codec import Lossless, Sensor
from dogfast.data.corruptions import CORRUPTIONS, SEVERITIES, corrupted, gaussian_blur, gaussian_noise, jpeg
from dogfast.data.images import ImageSet

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def image_set(n=5):
    images = torch.from_numpy(RNG.integers(0, 256, (n, 3, 16, 16), dtype=np.uint8))
    return ImageSet(images, torch.arange(n) % 2, tuple(f"test/{k}" for k in range(n)), ("a", "b"))


@pytest.mark.parametrize("name, severity", SEVERITIES)
def test_a_corruption_keeps_shape_and_type_and_is_a_function_of_its_key(name, severity):
    damage = CORRUPTIONS[name][0]
    before = IMAGE.copy()
    once, again = damage(IMAGE, "a", severity), damage(IMAGE, "a", severity)
    assert once.shape == IMAGE.shape and once.dtype == np.uint8 and (once == again).all() and (IMAGE == before).all()
    assert (once == IMAGE).all() == (name == "none")


def test_severities_grow():
    smooth = np.asarray(Image.fromarray(IMAGE[:4, :4]).resize((32, 32), Image.Resampling.BICUBIC))
    for name in ("gaussian-blur", "gaussian-noise", "jpeg"):
        damage, severities = CORRUPTIONS[name]
        errors = [float(np.abs(damage(smooth, "a", s).astype(float) - smooth).mean()) for s in severities]
        assert errors == sorted(errors) and errors[0] < errors[-1] < 30, name


@pytest.mark.parametrize("sigma", [0.4, 1.0])
def test_blur_is_a_convolution_with_a_gaussian(sigma):
    offsets = np.arange(-6, 7)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    wanted = IMAGE.astype(float)
    for axis in (0, 1):
        wanted = convolve1d(wanted, kernel / kernel.sum(), axis=axis, mode="nearest")
    assert np.abs(gaussian_blur(IMAGE, "a", sigma) - wanted).max() < 1


def test_noise_has_its_standard_deviation_and_differs_by_key_and_severity():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = gaussian_noise(grey, "a", 0.04).astype(float) - 128
    assert noise.std() == pytest.approx(0.04 * 255, rel=0.02) and abs(noise.mean()) < 0.2
    other = gaussian_noise(grey, "b", 0.04).astype(float) - 128
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.02
    more = gaussian_noise(grey, "a", 0.08).astype(float) - 128
    assert abs(np.corrcoef(noise.ravel(), more.ravel())[0, 1]) < 0.02


def test_jpeg_is_pillows_at_that_quality():
    buffer = io.BytesIO()
    Image.fromarray(IMAGE).save(buffer, "JPEG", quality=50, subsampling="4:2:0")
    assert (jpeg(IMAGE, "a", 50.0) == np.asarray(Image.open(buffer))).all()


def test_a_set_goes_through_the_id_codec_after_it_was_corrupted():
    images = image_set()
    found = corrupted(images, "jpeg", 50.0, Sensor())
    for k, key in enumerate(images.keys):
        damaged = jpeg(images.images[k].permute(1, 2, 0).numpy(), key, 50.0)
        assert (found[k].permute(1, 2, 0).numpy() == Sensor()(damaged, f"jpeg-50/{key}")).all()
    assert torch.equal(corrupted(images, "none", 0.0, Lossless()), images.images)
    assert not torch.equal(corrupted(images, "none", 0.0, Sensor()), images.images), "a sensor sees each image anew"
