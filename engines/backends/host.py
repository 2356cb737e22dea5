"""Tensors as the arrays that CPU runtimes read."""

from __future__ import annotations

import numpy as np
import torch

from dogfast.engines.table import Network


def host_arrays(network: Network, inputs: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
    """``inputs`` by port name, contiguous, in the element types of an fp32 graph; copied only where they differ."""
    return {
        port.name: tensor.detach().to("cpu", port.dtype("fp32")).contiguous().numpy()
        for port, tensor in zip(network.inputs, inputs, strict=True)
    }
