"""What every objective has in common."""

import torch

from dogfast.data.augment import PART_AREA, Draws, random_crop_flip, random_window, to_unit
from tests.training.steps import objective_of, plain_model


def test_small_images_are_shifted_and_of_large_ones_a_window_is_seen():
    objective, pixels = objective_of("ce", plain_model()), torch.Generator().manual_seed(0)
    small = lambda images, draws: to_unit(random_crop_flip(images, 8, draws))  # noqa: E731
    large = lambda images, draws: random_window(to_unit(images), PART_AREA, draws)  # noqa: E731
    for side, cut in ((64, small), (65, large)):
        images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8, generator=pixels)
        seen, expected = (augment(images, Draws(torch.Generator().manual_seed(1), 4)) for augment in (objective.augment, cut))
        assert torch.equal(seen, expected)
