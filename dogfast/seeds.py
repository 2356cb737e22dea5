"""Seeds that are a function of what they are for, so that nothing depends on what was drawn before."""

from __future__ import annotations

import hashlib

import torch

SEED_BITS = 53
"""Seeds stay below 2**53, so that every JSON reader keeps them exactly."""


def derive_seed(*parts: str | int) -> int:
    """A seed from the hash of ``parts``: the same for any batch, worker or order."""
    key = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(key[:8], "big") >> (64 - SEED_BITS)


def stream(*parts: str | int) -> torch.Generator:
    """A CPU generator of its own for each purpose."""
    return torch.Generator().manual_seed(derive_seed(*parts))
