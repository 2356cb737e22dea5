"""Torch: the networks themselves; the reference for every other backend. On a GPU they are compiled."""

from __future__ import annotations

from copy import deepcopy

import torch

from dogfast.diffusion.load import Pipeline
from dogfast.engines.table import DTYPES, Engine, Network
from dogfast.engines.wrappers import wrap
from dogfast.environment import Choice
from dogfast.errors import EnvironmentFault


def choose_attention(wanted: str, device: str) -> Choice[str]:
    """The attention of the torch backend; :class:`EnvironmentFault` when xformers is asked for and cannot run."""
    if wanted == "auto":
        return Choice("sdpa", "torch's fused attention")
    if wanted == "xformers":
        if not device.startswith("cuda"):
            raise EnvironmentFault(f"--attention xformers: it runs on CUDA, not on {device}; use --attention sdpa")
        try:
            import xformers.ops  # noqa: F401
        except ImportError as error:
            raise EnvironmentFault(
                f"--attention xformers: it cannot be loaded ({error}); pip install xformers, or use sdpa"
            ) from error
    return Choice(wanted, "asked for by --attention")


def open_engine(pipeline: Pipeline, network: Network, device: str, precision: str, attention: str) -> Engine:
    """``network`` on ``device`` in ``precision``, channels_last; any shape. The pipeline's own weights stay as they are."""
    module = deepcopy(wrap(pipeline, network.name)).to(device, DTYPES[precision])
    if network.part in ("unet", "vae", "tiny_decoder"):
        module = module.to(memory_format=torch.channels_last)
    if attention == "xformers" and network.part in ("unet", "vae"):
        _use_xformers(module)
    if device.startswith("cuda"):
        # Without its own CUDA graphs: their outputs would be overwritten by the next call.
        module = torch.compile(module, mode="max-autotune-no-cudagraphs", dynamic=False)

    @torch.inference_mode()
    def engine(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return module(*(_placed(tensor, port.dtype(precision)) for tensor, port in zip(inputs, network.inputs, strict=True)))

    def _placed(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        memory_format = torch.channels_last if tensor.ndim == 4 else torch.contiguous_format
        return tensor.to(device, dtype).contiguous(memory_format=memory_format)

    return engine


def _use_xformers(module: torch.nn.Module) -> None:
    from diffusers.models.attention_processor import Attention

    for part in module.modules():
        if isinstance(part, Attention):
            part.set_use_memory_efficient_attention_xformers(True)
