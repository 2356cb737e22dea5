"""Images moved a little toward the class a classifier takes them for, and what it says of them then (ODIN's perturbation)."""

from collections.abc import Callable

import torch
from torch import Tensor

TEMPERATURE = 1000.0
"""Of the softmax that is followed, and of the one that is scored afterwards."""


def moved_logits(
    logits_of: Callable[[Tensor], Tensor], images: Tensor, magnitudes: tuple[float, ...], at_once: int
) -> dict[float, Tensor]:
    """Logits (n, C) of ``images``, floats (n, 3, H, W) in [0, 1], after a move by each of ``magnitudes``.

    x~ = x + ε sign(∇_x log max_k softmax(f(x) / T)_k), T = 1000, one gradient for all magnitudes (Liang et al., "Enhancing the
    reliability of out-of-distribution image detection in neural networks", ICLR 2018, Eq. 2). ε is in units of pixels in
    [0, 1], alike in every channel: the authors' code moves normalised images and divides by each channel's standard
    deviation, which is the same move. As there, x~ is not clipped to [0, 1]. ``at_once`` images are moved together.
    """
    parts = [_moved(logits_of, part, magnitudes) for part in images.split(at_once)]
    return {magnitude: torch.cat([part[magnitude] for part in parts]) for magnitude in magnitudes}


def _moved(logits_of: Callable[[Tensor], Tensor], images: Tensor, magnitudes: tuple[float, ...]) -> dict[float, Tensor]:
    with torch.enable_grad():
        images = images.detach().requires_grad_()
        confidence = (logits_of(images) / TEMPERATURE).log_softmax(1).amax(1)
        # Times T: the sign is the same, and half precision does not lose what is small.
        (slope,) = torch.autograd.grad(TEMPERATURE * confidence.sum(), images)
    with torch.no_grad():
        return {magnitude: logits_of(images + magnitude * slope.sign()) for magnitude in magnitudes}
