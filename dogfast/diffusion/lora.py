"""Low-rank updates of a UNet (Hu et al. 2021), such as LCM-LoRA: fused into its weights before anything is exported."""

from __future__ import annotations

from pathlib import Path

import torch

from dogfast.errors import EnvironmentFault
from dogfast.text import first_line

LORA_FILE = "pytorch_lora_weights.safetensors"


def fuse_lora(unet: torch.nn.Module, path: Path) -> None:
    """Add the updates of ``path``, in diffusers' or Kohya's form, to the weights of ``unet``, in place.

    Raises :class:`EnvironmentFault` where peft is missing, or the file is no LoRA of this UNet.
    """
    try:
        import peft  # noqa: F401 - diffusers loads LoRAs through it
    except ImportError as error:
        raise EnvironmentFault("--lora needs peft; install it with `pip install 'dogfast[lora]'`") from error
    from diffusers.loaders import StableDiffusionLoraLoaderMixin

    try:
        state, alphas, metadata = StableDiffusionLoraLoaderMixin.lora_state_dict(
            path.parent, weight_name=path.name, use_safetensors=True, unet_config=unet.config, return_lora_metadata=True
        )
        foreign = sorted(key for key in state if not key.startswith("unet."))
        if foreign or not state:
            what = f"{len(foreign)} weights that are not the UNet's, the first is {foreign[0]}" if foreign else "nothing"
            raise ValueError(f"it holds {what}")
        unet.load_lora_adapter(state, prefix="unet", network_alphas=alphas, metadata=metadata)
        unet.fuse_lora(safe_fusing=True)
        unet.unload_lora()
    except Exception as error:  # what the libraries raise for foreign files has no common base
        raise EnvironmentFault(
            f"--lora {path}: cannot fuse it into this UNet ({first_line(error).rstrip('.')}); give a LoRA made for --model"
        ) from error
