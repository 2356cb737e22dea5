"""DeepCache (Ma, Fang & Wang 2023, arXiv 2312.00858, Section 3.3): what the inner layers say changes little from call to call.

Every so many calls the whole UNet is computed. In between only its outermost layers are: the stem, the first layer down, and
the last two layers up, whose skips these two are. What entered them from within is kept from the last whole pass: the
*feature*.

Shapes: latents and noise (R, C, h, w), timesteps (R,), token states (R, L, D), feature (R, F, h, w).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import torch
from torch import nn

from dogfast.diffusion.guidance import Denoise

Tensor = torch.Tensor

OUTER = 2
"""Layers up that are computed at every call."""
KNOWN_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
"""Blocks whose layers are a resnet each and, beside it, an attention or none."""
UNKNOWN_PATHS = ("center_input_sample", "time_embedding_act_fn", "encoder_hid_dim", "encoder_hid_dim_type")
"""Settings that would do something with the inputs that is not done here."""

DeepDenoise = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(latents, timesteps, token states) to noise and feature."""
ShallowDenoise = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""(latents, timesteps, token states, feature) to noise."""


def reusing(deep: DeepDenoise, shallow: ShallowDenoise, every: int) -> Denoise:
    """A network for one batch that is computed whole at each ``every``-th call, and where no feature fits.

    Where rows halve because guidance ends, the feature's last half goes on: `guided` puts the conditional rows there. Where
    they double there is none for the new ones.
    """
    calls, kept = count(), torch.empty(0)

    def denoise(latents: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        nonlocal kept
        if next(calls) % every == 0 or len(kept) < len(latents):
            noise, kept = deep(latents, timesteps, text)
            return noise
        kept = kept[-len(latents) :]
        return shallow(latents, timesteps, text, kept)

    return denoise


def feature_channels(config: dict[str, Any]) -> int:
    """F for a UNet of this diffusers configuration; 0 where its outermost layers are of another kind than those known here."""
    ends = {"down_block_types": 0, "up_block_types": -1}
    known = all(name not in config or config[name][end] in KNOWN_BLOCKS[name] for name, end in ends.items())
    if not known or any(config.get(name) for name in UNKNOWN_PATHS):
        return 0
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    first = layers if isinstance(layers, int) else layers[0]
    return widths[0] if first > 1 else widths[:2][-1]


def whole_pass(unet: nn.Module, latents: Tensor, timesteps: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """What ``unet`` says, and the feature on the way."""
    time = _time(unet, latents, timesteps)
    hidden = unet.conv_in(latents)
    skips = [hidden]
    for block in unet.down_blocks:
        hidden, made = _through(block, hidden, time, states)
        skips += made
    if unet.mid_block is not None:
        hidden = _through(unet.mid_block, hidden, time, states)
    uneven = any(side % 2**unet.num_upsamplers for side in latents.shape[-2:])
    for block in unet.up_blocks[:-1]:
        read = [skips.pop() for _ in block.resnets][::-1]
        size = {"upsample_size": skips[-1].shape[2:]} if uneven else {}
        hidden = _through(block, hidden, time, states, res_hidden_states_tuple=tuple(read), **size)
    last = unet.up_blocks[-1]
    feature = _up(last, range(len(last.resnets) - OUTER), hidden, skips, time, states)
    return _ending(unet, feature, skips, time, states), feature


def shallow_pass(unet: nn.Module, latents: Tensor, timesteps: Tensor, states: Tensor, feature: Tensor) -> Tensor:
    """What ``unet``, or the `outermost` of it, says with the ``feature`` of another call: the same, if that call was this one."""
    time = _time(unet, latents, timesteps)
    stem = unet.conv_in(latents)
    return _ending(unet, feature, [stem, _layer(unet.down_blocks[0], 0, stem, time, states)], time, states)


def outermost(unet: nn.Module) -> nn.Module:
    """All that `shallow_pass` reads of ``unet``, under the same names and with the same weights, and nothing else."""
    kept = nn.Module()
    for name in ("time_proj", "time_embedding", "conv_in", "conv_norm_out", "conv_act", "conv_out"):
        kept.add_module(name, getattr(unet, name))
    kept.down_blocks = nn.ModuleList([_part(unet.down_blocks[0], slice(1))])
    kept.up_blocks = nn.ModuleList([_part(unet.up_blocks[-1], slice(-OUTER, None))])
    return kept


def _part(block: nn.Module, layers: slice) -> nn.Module:
    part = nn.Module()
    for name in ("resnets", "attentions"):
        if hasattr(block, name):
            part.add_module(name, getattr(block, name)[layers])
    return part


def _time(unet: nn.Module, latents: Tensor, timesteps: Tensor) -> Tensor:
    return unet.time_embedding(unet.time_proj(timesteps).to(latents.dtype))


def _through(block: nn.Module, hidden: Tensor, time: Tensor, states: Tensor, **more: Any) -> Any:
    """``block`` as a whole; a block down gives the skips it made beside what it says."""
    attended = {"encoder_hidden_states": states} if getattr(block, "has_cross_attention", False) else {}
    return block(hidden_states=hidden, temb=time, **attended, **more)


def _ending(unet: nn.Module, feature: Tensor, skips: list[Tensor], time: Tensor, states: Tensor) -> Tensor:
    """From the feature and the two outermost skips to the noise."""
    last = unet.up_blocks[-1]
    layers = len(last.resnets)
    hidden = _up(last, range(layers - OUTER, layers), feature, skips, time, states)
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))


def _up(block: nn.Module, layers: range, hidden: Tensor, skips: list[Tensor], time: Tensor, states: Tensor) -> Tensor:
    """Through some ``layers`` of a block up, which take the ``skips`` from the end."""
    for layer in layers:
        hidden = _layer(block, layer, torch.cat([hidden, skips.pop()], dim=1), time, states)
    return hidden


def _layer(block: nn.Module, layer: int, hidden: Tensor, time: Tensor, states: Tensor) -> Tensor:
    hidden = block.resnets[layer](hidden, time)
    if not hasattr(block, "attentions"):
        return hidden
    return block.attentions[layer](hidden, encoder_hidden_states=states, return_dict=False)[0]
