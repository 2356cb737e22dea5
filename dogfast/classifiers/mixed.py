"""Forwards in half precision, the weights staying fp32."""

import torch

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("fp32", *HALF)


def mixed(device: str, precision: str) -> torch.autocast:
    """The context of a forward in ``precision``, one of :data:`PRECISIONS`, on a device of this type ("cpu", "cuda")."""
    assert precision in PRECISIONS, precision
    return torch.autocast(device, dtype=HALF.get(precision), enabled=precision in HALF)
