"""Load the parts of a Stable-Diffusion-1.x pipeline and its CLIP image tower, by name, safetensors only, no remote code."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from dogfast.config.model import ModelConfig
from dogfast.environment import Choice
from dogfast.errors import EnvironmentFault
from dogfast.run import digest, file_digest

os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")

ASSETS = Path(__file__).parent.parent / "assets"
KNOWN_MODELS = {"tiny": str(ASSETS / "tiny"), "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
KNOWN_CLIPS = {"sd15": "openai/clip-vit-large-patch14"}
PROJECTION_FILE = "text_projection.safetensors"

T = TypeVar("T")


def choose_model(wanted: str, classes: str) -> Choice[str]:
    """The generator asked for, else the one that knows the class set."""
    if wanted != "auto":
        return Choice(wanted, "asked for by --model")
    if classes == "shapes":
        return Choice("tiny", "the embedded generator knows the shapes")
    return Choice("sd15", "Stable Diffusion v1.5 is the papers' generator")


@dataclass(frozen=True)
class Pixels:
    """What an image tower expects: side in pixels, and mean and deviation of RGB in [0, 1]."""

    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Pipeline:
    """The networks of one generator, each loaded when first asked for, in fp32 on the CPU, frozen and in eval mode."""

    def __init__(self, config: ModelConfig, model: str):
        self.name = model
        self.place = KNOWN_MODELS.get(model, model)
        self.clip = config.clip if config.clip != "auto" else KNOWN_CLIPS.get(model, self.place)
        self._options: dict[str, Any] = {"revision": config.revision, "local_files_only": config.offline}
        if not Path(self.place).is_dir() and self.place.count("/") != 1:
            raise EnvironmentFault(
                f"--model {model!r} is neither {', '.join(KNOWN_MODELS)}, a folder nor a hub name (owner/name)"
            )

    # -- networks --
    @cached_property
    def tokenizer(self):
        from transformers import CLIPTokenizer

        return self._load(CLIPTokenizer.from_pretrained, "tokenizer")

    @cached_property
    def text_encoder(self) -> torch.nn.Module:
        from transformers import CLIPTextModel

        return _frozen(self._load(CLIPTextModel.from_pretrained, "text_encoder", use_safetensors=True, dtype=torch.float32))

    @cached_property
    def unet(self) -> torch.nn.Module:
        from diffusers import UNet2DConditionModel

        return _frozen(
            self._load(UNet2DConditionModel.from_pretrained, "unet", use_safetensors=True, torch_dtype=torch.float32)
        )

    @cached_property
    def vae(self) -> torch.nn.Module:
        from diffusers import AutoencoderKL

        return _frozen(self._load(AutoencoderKL.from_pretrained, "vae", use_safetensors=True, torch_dtype=torch.float32))

    @cached_property
    def image_encoder(self) -> torch.nn.Module:
        from transformers import CLIPVisionModelWithProjection

        load = CLIPVisionModelWithProjection.from_pretrained
        subfolder = "image_encoder" if self._has_own_clip else ""
        return _frozen(self._load(load, subfolder, place=self.clip, use_safetensors=True, dtype=torch.float32))

    @cached_property
    def text_projection(self) -> torch.Tensor:
        """(P, D) float32: projects the pooled text state into the space shared with images."""
        if self._has_own_clip:
            return self._own_projection()
        return self._foreign_projection()

    @cached_property
    def pixels(self) -> Pixels:
        """How images are prepared for `image_encoder`."""
        subfolder = "feature_extractor" if self._has_own_clip else ""
        config = self._json("preprocessor_config.json", subfolder)
        size = config.get("crop_size", config.get("size"))
        side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge"))
        return Pixels(side, tuple(config["image_mean"]), tuple(config["image_std"]))

    @cached_property
    def alphas_cumprod(self) -> torch.Tensor:
        """Share of signal variance left at each training timestep: float64 (T,)."""
        from dogfast.diffusion.schedule import alphas_cumprod

        return alphas_cumprod(self._json("scheduler_config.json", "scheduler"))

    # -- facts --
    @property
    def native_px(self) -> int:
        """Side of the images the generator was trained on."""
        return self.unet.config.sample_size * self.downscale

    @property
    def downscale(self) -> int:
        """Pixels a latent position covers along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @cached_property
    def revision(self) -> str:
        """A digest of a folder's configuration and weights, or a hub model's commit."""
        if Path(self.place).is_dir():
            files = sorted(p for p in Path(self.place).rglob("*") if p.suffix in {".json", ".safetensors", ".txt"})
            return digest([(p.relative_to(self.place).as_posix(), file_digest(p)) for p in files])[:16]
        return str(getattr(self.unet.config, "_commit_hash", None) or self._options["revision"])

    # -- loading --
    @property
    def _has_own_clip(self) -> bool:
        return self.clip == self.place

    def _load(self, load: Callable[..., T], subfolder: str, place: str | None = None, **options: Any) -> T:
        _quiet_libraries()
        place = place or self.place
        source = self._options if place == self.place else {"local_files_only": self._options["local_files_only"]}
        try:
            return load(place, subfolder=subfolder, **source, **options)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise EnvironmentFault(self._missing(place, subfolder, error)) from error

    def _missing(self, place: str, part: str, error: Exception) -> str:
        what = f"--model {self.name}: cannot load {part or 'the CLIP'} from {place}"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if Path(place).is_dir():
            return f"{what} ({reason}); it must be a diffusers folder of Stable Diffusion 1.x with safetensors weights"
        return f"{what} ({reason}); go online, fill the hub's cache, or give a local folder with --model PATH"

    def _file(self, name: str, subfolder: str) -> Path:
        place = self.clip if subfolder in ("", "feature_extractor") else self.place
        if Path(place).is_dir():
            return Path(place) / subfolder / name
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            return Path(hf_hub_download(place, name, subfolder=subfolder or None, **self._options))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise EnvironmentFault(self._missing(place, f"{subfolder}/{name}", error)) from error

    def _json(self, name: str, subfolder: str) -> dict[str, Any]:
        path = self._file(name, subfolder)
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise EnvironmentFault(f"--model {self.name}: {path} is missing or no JSON ({error})") from error

    def _own_projection(self) -> torch.Tensor:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._file(PROJECTION_FILE, "")
        try:
            return load_file(path)["weight"].float()
        except (OSError, KeyError, SafetensorError) as error:
            raise EnvironmentFault(f"--model {self.name}: {path} is missing or damaged; give its CLIP with --clip") from error

    def _foreign_projection(self) -> torch.Tensor:
        from transformers import CLIPTextModelWithProjection

        clip = self._load(
            CLIPTextModelWithProjection.from_pretrained, "", place=self.clip, use_safetensors=True, dtype=torch.float32
        )
        if not _same_tower(clip, self.text_encoder):
            raise EnvironmentFault(
                f"--clip {self.clip}: its text tower is not the one of --model {self.name}; give the CLIP it was trained with"
            )
        return clip.text_projection.weight.detach()


def _quiet_libraries() -> None:
    """Keep the libraries' bars and advice to their own users off our screen."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()


def _frozen(network: torch.nn.Module) -> torch.nn.Module:
    return network.requires_grad_(False).eval()


def _same_tower(clip: torch.nn.Module, text_encoder: torch.nn.Module) -> bool:
    def tower(network: torch.nn.Module) -> dict[str, torch.Tensor]:
        return {n.removeprefix("text_model."): p for n, p in network.named_parameters() if not n.startswith("text_projection")}

    ours, theirs = tower(text_encoder), tower(clip)
    return ours.keys() == theirs.keys() and all(torch.allclose(ours[n], theirs[n], atol=1e-3) for n in ours)
