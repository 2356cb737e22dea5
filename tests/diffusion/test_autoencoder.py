"""Images to latents and back: ranges, shapes, and what is not a number."""

import pytest
import torch

from dogfast.config.model import ModelConfig
from dogfast.diffusion.autoencoder import decode_latents, encode_images, resize, to_bytes, to_signed
from dogfast.diffusion.load import Pipeline


def test_every_byte_survives_there_and_back():
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    signed = to_signed(images, 16)
    assert signed.dtype == torch.float32 and signed.min() == -1 and signed.max() == 1
    assert torch.equal(to_bytes(signed, 16), images)


@pytest.mark.parametrize("side", [8, 16, 24, 64])
def test_resizing_keeps_range_and_flat_colour(side):
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    images[:, :, :, 8:] = 255
    signed = to_signed(images, side)
    assert signed.shape == (1, 3, side, side) and signed.abs().max() <= 1
    flat = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(resize(flat, side), torch.full((1, 3, side, side), 0.3))


def test_resizing_to_the_same_side_is_no_work():
    images = torch.rand(1, 3, 16, 16)
    assert resize(images, 16) is images


def test_out_of_range_is_clamped_and_what_is_no_number_is_black():
    images = torch.zeros(1, 3, 4, 4)
    images[0, :, 0] = torch.tensor([float("nan"), float("inf"), float("-inf"), 3.0])
    found = to_bytes(images, 4)
    assert found.dtype == torch.uint8
    assert found[0, 0, 0].tolist() == [0, 0, 0, 255]
    assert found[0, 0, 1].tolist() == [128] * 4


def test_half_precision_images_become_bytes():
    images = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4).expand(1, 3, 4, 4)
    for dtype in (torch.bfloat16, torch.float16):
        assert (to_bytes(images.to(dtype), 8).int() - to_bytes(images, 8).int()).abs().max() <= 1


def test_latents_are_scaled_posterior_means(random_pipeline):
    vae = Pipeline(ModelConfig(), str(random_pipeline)).vae
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents, posterior = encode_images(vae, images), vae.encode(images).latent_dist
        torch.testing.assert_close(latents, posterior.mean * vae.config.scaling_factor)
        assert latents.shape == (2, 4, 8, 8) and torch.equal(encode_images(vae, images), latents)
        torch.testing.assert_close(decode_latents(vae, latents), vae.decode(posterior.mean).sample)
