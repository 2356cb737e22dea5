"""What is refused before it is stored."""

import pytest
import torch

from dogfast.diffusion.autoencoder import to_bytes
from dogfast.synthesis.quality import FAULTS, faults

FINE = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1) / 2


def one_bad_pixel(value):
    image = FINE.clone()
    image[1, 2, 3] = value
    return image


def named(codes):
    return [FAULTS[code] for code in codes.tolist()]


@pytest.mark.parametrize(
    "image, fault",
    [
        (FINE, ""),
        (one_bad_pixel(float("nan")), "not finite"),
        (one_bad_pixel(float("inf")), "not finite"),
        (one_bad_pixel(float("-inf")), "not finite"),
        (torch.full((3, 8, 8), -1.0), "black"),
        (torch.full((3, 8, 8), -3.0), "black"),
        (torch.full((3, 8, 8), 1.0), "flat"),
        (FINE * 0.01, "flat"),
        (FINE * 0.3, ""),
    ],
)
@pytest.mark.parametrize("side", [8, 4])
def test_the_fault_of_one_image_is_its_own(image, fault, side):
    batch = torch.stack([FINE, image, FINE])
    assert named(faults(batch, to_bytes(batch, side))) == ["", fault, ""]


def test_a_dark_image_that_shows_something_is_kept():
    image = torch.full((1, 3, 8, 8), -1.0)
    image[:, :, 2:5, 2:5] = 0.5
    assert named(faults(image, to_bytes(image, 8))) == [""]
