"""Load the parts of a Stable-Diffusion-1.x pipeline and its CLIP image tower, by name, safetensors only, no remote code."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from dogfast.config.model import ModelConfig
from dogfast.diffusion.deepcache import feature_channels
from dogfast.diffusion.lora import LORA_FILE, fuse_lora
from dogfast.diffusion.pixels import Pixels
from dogfast.environment import Choice
from dogfast.errors import EnvironmentFault
from dogfast.run import digest, file_digest
from dogfast.text import first_line

os.environ.setdefault("DIFFUSERS_DISABLE_REMOTE_CODE", "1")

ASSETS = Path(__file__).parent.parent / "assets"
KNOWN_MODELS = {"tiny": str(ASSETS / "tiny"), "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
KNOWN_CLIPS = {"sd15": "openai/clip-vit-large-patch14"}
KNOWN_TINY_DECODERS = {"sd15": "madebyollin/taesd"}
PROJECTION_FILE = "text_projection.safetensors"
TINY_DECODER = "tiny_decoder"
SAFETY_CHECKER = "safety_checker"
OWN = "own"
PARTS = (
    "feature_extractor",
    "image_encoder",
    SAFETY_CHECKER,
    "scheduler",
    "text_encoder",
    TINY_DECODER,
    "tokenizer",
    "unet",
    "vae",
)

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT}
WEIGHT_SUFFIXES = {".json", ".safetensors", ".txt"}

T = TypeVar("T")


def choose_model(wanted: str, classes: str) -> Choice[str]:
    """The generator asked for, else the one that knows the class set."""
    if wanted != "auto":
        return Choice(wanted, "asked for by --model")
    if classes == "shapes":
        return Choice("tiny", "the embedded generator knows the shapes")
    return Choice("sd15", "Stable Diffusion v1.5 is the papers' generator")


class Pipeline:
    """The networks of one generator, each loaded when first asked for, in fp32 on the CPU, frozen and in eval mode."""

    def __init__(self, config: ModelConfig, model: str):
        self.name = model
        self.place = KNOWN_MODELS.get(model, model)
        self.clip = config.clip if config.clip != "auto" else KNOWN_CLIPS.get(model, self.place)
        known = KNOWN_TINY_DECODERS.get(model, self.place)
        self.small = config.tiny_decoder if config.tiny_decoder != "auto" else known
        self.guard = self.place if config.safety_checker == OWN else config.safety_checker
        self.lora = config.lora
        self._foreign_revisions: dict[str, str] = {}
        self._options: dict[str, Any] = {"revision": config.revision, "local_files_only": config.offline}
        if not self.place or (not Path(self.place).is_dir() and not _is_hub_name(self.place)):
            raise EnvironmentFault(
                f"--model {model!r} is neither {', '.join(KNOWN_MODELS)}, a folder nor a hub name (owner/name)"
            )

    # -- networks --
    @cached_property
    def tokenizer(self):
        from transformers import CLIPTokenizer

        tokenizer = self._load(CLIPTokenizer.from_pretrained, "tokenizer")
        encoder = self.text_encoder.config
        if len(tokenizer) != encoder.vocab_size:
            counts = f"it knows {len(tokenizer)} tokens, the text encoder {encoder.vocab_size}"
            raise EnvironmentFault(self._unloadable(self.place, "tokenizer", counts))
        tokenizer.model_max_length = min(tokenizer.model_max_length, encoder.max_position_embeddings)
        return tokenizer

    @cached_property
    def text_encoder(self) -> torch.nn.Module:
        from transformers import CLIPTextModel

        return self._network(CLIPTextModel.from_pretrained, "text_encoder", dtype=torch.float32)

    @cached_property
    def unet(self) -> torch.nn.Module:
        from diffusers import UNet2DConditionModel

        unet = self._network(UNet2DConditionModel.from_pretrained, "unet", torch_dtype=torch.float32)
        if unet.config.get("time_cond_proj_dim"):
            raise EnvironmentFault(
                f"--model {self.name}: its UNet was distilled to read the guidance scale (time_cond_proj_dim), which is not "
                "supported; name the model it was distilled from, with the distillation as --lora"
            )
        if self._lora_file:
            fuse_lora(unet, self._lora_file)
        return unet.requires_grad_(False)

    @cached_property
    def vae(self) -> torch.nn.Module:
        from diffusers import AutoencoderKL

        return self._network(AutoencoderKL.from_pretrained, "vae", torch_dtype=torch.float32)

    @cached_property
    def image_encoder(self) -> torch.nn.Module:
        from transformers import CLIPVisionModelWithProjection

        subfolder = "image_encoder" if self._has_own_clip else ""
        return self._network(CLIPVisionModelWithProjection.from_pretrained, subfolder, self.clip, dtype=torch.float32)

    @cached_property
    def tiny_decoder(self) -> torch.nn.Module:
        """The small decoder (TAESD) of the same latents. Raises :class:`EnvironmentFault` where there is none."""
        from diffusers import AutoencoderTiny

        if not self.has_tiny_decoder:
            raise EnvironmentFault(f"--model {self.name} has no tiny decoder; name one with --tiny-decoder")
        subfolder = TINY_DECODER if self.small == self.place else ""
        return self._network(AutoencoderTiny.from_pretrained, subfolder, self.small, torch_dtype=torch.float32)

    @cached_property
    def safety_checker(self) -> torch.nn.Module:
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        subfolder = SAFETY_CHECKER if self.guard == self.place else ""
        return self._network(StableDiffusionSafetyChecker.from_pretrained, subfolder, self.guard, dtype=torch.float32)

    @property
    def has_tiny_decoder(self) -> bool:
        return self.small != self.place or (Path(self.place) / TINY_DECODER).is_dir()

    @cached_property
    def text_projection(self) -> torch.Tensor:
        """(P, D) float32: projects the pooled text state into the space shared with images."""
        if self._has_own_clip:
            return self._own_projection()
        return self._foreign_projection()

    @cached_property
    def pixels(self) -> Pixels:
        """How images are prepared for `image_encoder`."""
        return self._pixels_of(self.clip)

    @property
    def safety_pixels(self) -> Pixels:
        """How images are prepared for `safety_checker`."""
        return self._pixels_of(self.guard)

    def _pixels_of(self, place: str) -> Pixels:
        subfolder, name = "feature_extractor" if place == self.place else "", "preprocessor_config.json"
        config = self._json(name, subfolder, place)
        try:
            size = config["crop_size"] if "crop_size" in config else config["size"]
            side = size if isinstance(size, int) else size["height"] if "height" in size else size["shortest_edge"]
            return Pixels(side, tuple(config["image_mean"]), tuple(config["image_std"]))
        except (KeyError, TypeError) as error:
            raise EnvironmentFault(self._unloadable(place, f"{subfolder}/{name}", f"{error} is missing")) from error

    @cached_property
    def alphas_cumprod(self) -> torch.Tensor:
        """Share of signal variance left at each training timestep: float64 (T,)."""
        from dogfast.diffusion.schedule import alphas_cumprod

        return alphas_cumprod(self._json("scheduler_config.json", "scheduler", self.place))

    # -- facts --
    @property
    def native_px(self) -> int:
        """Side of the images the generator was trained on."""
        return int(self._fact("unet", "sample_size")) * self.downscale

    @cached_property
    def downscale(self) -> int:
        """Pixels a latent position covers along one side."""
        return 2 ** (len(self._fact("vae", "block_out_channels")) - 1)

    @cached_property
    def latent_channels(self) -> int:
        return int(self._fact("unet", "in_channels"))

    @cached_property
    def width(self) -> int:
        """Width of a token state."""
        return int(self._fact("unet", "cross_attention_dim"))

    @cached_property
    def feature_channels(self) -> int:
        """Channels of what DeepCache keeps of the UNet's inner layers; 0 where it cannot be used."""
        return feature_channels(self._json("config.json", "unet", self.place))

    @property
    def tokens(self) -> int:
        """Tokens of a prompt, start and end included."""
        return self.tokenizer.model_max_length

    @property
    def start_id(self) -> int:
        return self.tokenizer.bos_token_id

    @property
    def end_id(self) -> int:
        return self.tokenizer.eos_token_id

    @cached_property
    def revision(self) -> str:
        """What the generator is: `_own_revision`, and the digest of a fused LoRA."""
        return f"{self._own_revision}+lora-{file_digest(self._lora_file)[:16]}" if self._lora_file else self._own_revision

    @cached_property
    def _own_revision(self) -> str:
        """A digest of a folder's configuration and weights, or a hub model's commit."""
        folder = Path(self.place)
        if not folder.is_dir():
            return self._file("scheduler_config.json", "scheduler", self.place).parent.parent.name
        files = sorted(p for part in PARTS for p in (folder / part).rglob("*") if p.suffix in WEIGHT_SUFFIXES)
        files += [p for p in (folder / PROJECTION_FILE,) if p.is_file()]
        return _digest_of(folder, files)

    def weights(self, part: str) -> str:
        """What the network ``part`` is made of, as a digest or a commit; a foreign CLIP or tiny decoder counts where it is used."""
        foreign = {
            "text_encoder": self.clip,
            "image_encoder": self.clip,
            TINY_DECODER: self.small,
            SAFETY_CHECKER: self.guard,
        }.get(part, self.place)
        whole = self.revision if part == "unet" else self._own_revision
        own = "" if part in ("image_encoder", TINY_DECODER, SAFETY_CHECKER) and foreign != self.place else whole
        return "+".join(filter(None, (own, "" if foreign == self.place else self._foreign_revision(foreign))))

    def release(self, part: str) -> None:
        """Forget the weights of ``part``; who asks again loads them again."""
        self.__dict__.pop(part, None)

    # -- loading --
    @cached_property
    def _lora_file(self) -> Path | None:
        """The file of --lora; None where none is asked for."""
        if not self.lora:
            return None
        place = Path(self.lora)
        found = place / LORA_FILE if place.is_dir() else place
        if found.is_file():
            return found
        if place.exists() or not _is_hub_name(self.lora):
            raise EnvironmentFault(
                f"--lora {self.lora!r} is neither a safetensors file, a folder with {LORA_FILE}, nor a hub name"
            )
        return self._file(LORA_FILE, "", self.lora)

    @property
    def _has_own_clip(self) -> bool:
        return self.clip == self.place

    @torch.inference_mode(False)
    def _network(self, load: Callable[..., Any], subfolder: str, place: str | None = None, **options: Any) -> Any:
        """A network with every weight read from the file: the libraries fill up missing ones at random.

        Whoever asks first, the weights can take part in a backward pass later.
        """
        place = place or self.place
        network, report = self._load(load, subfolder, place, use_safetensors=True, output_loading_info=True, **options)
        missing = sorted(report["missing_keys"])
        if missing:
            reason = f"{len(missing)} weights are not in its file, the first is {missing[0]}"
            raise EnvironmentFault(self._unloadable(place, subfolder, reason))
        return network.requires_grad_(False).eval()

    def _load(self, load: Callable[..., T], subfolder: str, place: str | None = None, **options: Any) -> T:
        _quiet_libraries()
        place = place or self.place
        try:
            return load(place, subfolder=subfolder, **self._source(place), **options)
        except Exception as error:  # what the libraries raise for damaged files has no common base
            raise EnvironmentFault(self._unloadable(place, subfolder, _reason(error, place))) from error

    def _foreign_revision(self, place: str) -> str:
        if place not in self._foreign_revisions:
            self._foreign_revisions[place] = self._revision_of(place)
        return self._foreign_revisions[place]

    def _revision_of(self, place: str) -> str:
        folder = Path(place)
        if not folder.is_dir():
            return self._file("config.json", "", place).parent.name
        return _digest_of(folder, sorted(p for p in folder.iterdir() if p.suffix in WEIGHT_SUFFIXES))

    def _source(self, place: str) -> dict[str, Any]:
        """``--revision`` names a commit of the generator, never one of a foreign CLIP."""
        return {name: value for name, value in self._options.items() if place == self.place or name != "revision"}

    def _unloadable(self, place: str, part: str, reason: str) -> str:
        flag, whole, kind = ("--clip", "the CLIP", "a transformers folder of a CLIP")
        if place == self.place:
            flag, whole, kind = ("--model", "the model", "a diffusers folder of Stable Diffusion 1.x")
        elif place == self.lora:
            flag, whole, kind = ("--lora", "the LoRA", f"a folder with {LORA_FILE}")
        elif place == self.guard:
            flag, whole, kind = ("--safety-checker", "the safety checker", "a diffusers folder of one")
        elif place == self.small:
            flag, whole, kind = ("--tiny-decoder", "the tiny decoder", "a diffusers folder of a TAESD")
        what = f"{flag} {self.name if place == self.place else place}: cannot load {part or whole} from {place} ({reason.rstrip('.')})"
        if Path(place).is_dir():
            return f"{what}; it must be {kind} with safetensors weights"
        without = ", or do without it with --decoder vae" if flag == "--tiny-decoder" else ""
        return f"{what}; go online, fill the hub's cache, or give a local folder with {flag} PATH{without}"

    def _fact(self, part: str, key: str) -> Any:
        """One entry of a network's configuration, without its weights."""
        config = self._json("config.json", part, self.place)
        if key not in config:
            raise EnvironmentFault(self._unloadable(self.place, f"{part}/config.json", f"{key} is missing"))
        return config[key]

    def _file(self, name: str, subfolder: str, place: str) -> Path:
        if Path(place).is_dir():
            return Path(place) / subfolder / name
        import huggingface_hub

        try:
            return Path(huggingface_hub.hf_hub_download(place, name, subfolder=subfolder or None, **self._source(place)))
        except Exception as error:  # the hub, its transport and the file system have no common base
            raise EnvironmentFault(self._unloadable(place, f"{subfolder}/{name}".lstrip("/"), _reason(error, place))) from error

    def _json(self, name: str, subfolder: str, place: str) -> dict[str, Any]:
        path = self._file(name, subfolder, place)
        try:
            return dict(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            reason = f"{path} is missing or no JSON object: {first_line(error)}"
            raise EnvironmentFault(self._unloadable(place, f"{subfolder}/{name}".lstrip("/"), reason)) from error

    @torch.inference_mode(False)
    def _own_projection(self) -> torch.Tensor:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self._file(PROJECTION_FILE, "", self.place)
        try:
            return load_file(path)["weight"].float()
        except (OSError, KeyError, SafetensorError) as error:
            raise EnvironmentFault(f"--model {self.name}: {path} is missing or damaged; give its CLIP with --clip") from error

    def _foreign_projection(self) -> torch.Tensor:
        from transformers import CLIPTextModelWithProjection

        clip = self._network(CLIPTextModelWithProjection.from_pretrained, "", self.clip, dtype=torch.float32)
        if not _same_tower(clip, self.text_encoder):
            raise EnvironmentFault(
                f"--clip {self.clip}: its text tower is not the one of --model {self.name}; give the CLIP it was trained with"
            )
        return clip.text_projection.weight.detach()


def _is_hub_name(place: str) -> bool:
    """Whether ``place`` can be an owner/name of the hub, as a path like ./name cannot."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(place)
    except HFValidationError:
        return False
    return "/" in place


def _reason(error: Exception, place: str) -> str:
    """Why ``place`` could not be loaded: what stands behind ``error`` and can be mended, else what it says first."""
    from huggingface_hub.errors import GatedRepoError

    behind, chain = error, [error]
    while (behind := behind.__cause__ or behind.__context__) is not None:
        chain.append(behind)
    if any(isinstance(one, GatedRepoError) for one in chain):
        return f"gated: accept its terms on https://huggingface.co/{place}, then log in with `hf auth login` or set $HF_TOKEN"
    if not Path(place).is_dir() and any(getattr(one, "errno", None) in UNWRITABLE for one in chain):
        return f"the hub's cache cannot be written, {first_line(error)}: set $HF_HOME to a folder that can"
    return first_line(error)


def _digest_of(folder: Path, files: list[Path]) -> str:
    return digest([(path.relative_to(folder).as_posix(), file_digest(path)) for path in files])[:16]


def _quiet_libraries() -> None:
    """Keep the libraries' bars, advice and error tables to their own users off our screen: what fails, we say."""
    import diffusers.utils.logging
    import transformers.utils.logging

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity(logging.CRITICAL)


def _same_tower(clip: torch.nn.Module, text_encoder: torch.nn.Module) -> bool:
    def tower(network: torch.nn.Module) -> dict[str, torch.Tensor]:
        named = network.named_parameters()
        return {n.removeprefix("text_model."): p.cpu() for n, p in named if not n.startswith("text_projection")}

    ours, theirs = tower(text_encoder), tower(clip)
    same_shapes = {n: p.shape for n, p in ours.items()} == {n: p.shape for n, p in theirs.items()}
    return same_shapes and all(torch.allclose(ours[n], theirs[n], atol=1e-3) for n in ours)
