"""Findings about this machine: what is fine, what is missing, why it matters and how to mend it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dogfast.engines.cache import CACHE_VARIABLE, Cache, bytes_of, check_private, default_folder
from dogfast.engines.choice import ONNXRUNTIME, OPENVINO, choose_arithmetic, choose_backend
from dogfast.environment import choose_device, processor_count, processor_name
from dogfast.errors import EnvironmentFault

FLOORS = {
    "torch": (2, 10),
    "diffusers": (0, 42, 1),
    "transformers": (5,),
    "accelerate": (1, 10),
    "onnx": (1, 23),
    "webdataset": (1, 0),
    "nltk": (3, 10),
    "safetensors": (0, 8),
    "scikit-learn": (1,),
}
NEEDED_MEMORY_BYTES = 4 * 2**30
NEEDED_DISK_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """``status`` is "ok", "warn" or "fail"; ``fix`` is empty where nothing needs mending."""

    name: str
    status: str
    found: str
    reason: str = ""
    fix: str = ""


def findings() -> list[Finding]:
    """Everything `dogfast doctor` looks at, in the order it prints."""
    return [_python(), *_packages(), *_machine(), _memory(), _disk(), *_models(), *_vocabularies(), _onnxruntime(), _data()]


def _python() -> Finding:
    return Finding("python", "ok", platform.python_version(), "3.11 is the oldest supported")


def _packages() -> Iterator[Finding]:
    for name, floor in FLOORS.items():
        wanted = ".".join(map(str, floor))
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, "fail", "missing", "dogfast needs it", f"pip install '{name}>={wanted}'")
            continue
        old = tuple(int(part) for part in found.split("+")[0].split(".")[: len(floor)] if part.isdigit()) < floor
        yield Finding(
            name, "fail" if old else "ok", found, f"{wanted} is the oldest supported", f"pip install -U {name}" if old else ""
        )


def _machine() -> Iterator[Finding]:
    yield Finding("processor", "ok", f"{processor_name()}, {processor_count()} cores")
    device = choose_device("auto")
    slow = device.value == "cpu"
    fix = "Stable Diffusion v1.5 wants a CUDA GPU; the embedded model runs anywhere" if slow else ""
    yield Finding("device", "warn" if slow else "ok", device.value, device.reason, fix)
    backend = choose_backend("auto", device.value)
    precision = choose_arithmetic("auto", backend.value, device.value)
    yield Finding("precision", "ok", precision.value, precision.reason)
    slower = backend.value != OPENVINO and slow
    yield Finding(
        "backend", "warn" if slower else "ok", backend.value, backend.reason, "pip install 'dogfast[cpu]'" if slower else ""
    )
    yield _engines()


def _engines() -> Finding:
    folder = default_folder()
    if not folder.exists():
        return Finding("engines", "ok", "none yet", f"they will lie in {folder}")
    try:
        check_private(folder)
    except EnvironmentFault as error:
        return Finding("engines", "fail", str(folder), str(error), f"chmod 700 {folder}, or set ${CACHE_VARIABLE}")
    entries = list(Cache(folder).entries())
    size = sum(map(bytes_of, entries))
    return Finding("engines", "ok", f"{len(entries)} entries, {size / 2**30:.1f} GiB", f"in {folder}")


def _memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available
    enough = free >= NEEDED_MEMORY_BYTES
    reason = "the embedded model needs 4 GiB, Stable Diffusion v1.5 in fp32 8 GiB"
    return Finding(
        "memory", "ok" if enough else "warn", f"{free / 2**30:.1f} GiB free", reason, "" if enough else "close other programs"
    )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    enough = free >= NEEDED_DISK_BYTES
    return Finding(
        "disk",
        "ok" if enough else "warn",
        f"{free / 2**30:.1f} GiB free here",
        "",
        "" if enough else "free space or use --output elsewhere",
    )


def _models() -> Iterator[Finding]:
    from dogfast.diffusion.load import KNOWN_MODELS

    tiny = Path(KNOWN_MODELS["tiny"], "unet", "diffusion_pytorch_model.safetensors")
    found = tiny.is_file()
    yield Finding(
        "model tiny", "ok" if found else "fail", "embedded" if found else "missing", "", "" if found else "reinstall dogfast"
    )
    cached = _in_hub_cache(KNOWN_MODELS["sd15"])
    fix = "" if cached else f"hf download {KNOWN_MODELS['sd15']}, or --model PATH"
    yield Finding(
        "model sd15",
        "ok" if cached else "warn",
        "in the hub's cache" if cached else "not in the hub's cache",
        "--classes other than shapes use it",
        fix,
    )


def _in_hub_cache(repo: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repo, "unet/config.json"), str)


def _vocabularies() -> Iterator[Finding]:
    from nltk import data

    try:
        data.find("corpora/wordnet.zip")
        found = True
    except LookupError:
        found = any(Path(root, "corpora", "wordnet").is_dir() for root in data.path)
    yield Finding(
        "vocabulary nltk",
        "ok",
        "present" if found else "not here",
        "--vocabulary nltk alone reads it, and downloads what is missing; wordnet is part of the package",
    )


def _onnxruntime() -> Finding:
    installed = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    if len(installed) == 2:
        fix = "pip uninstall onnxruntime onnxruntime-gpu, then install one of them"
        return Finding(
            "onnxruntime", "fail", "onnxruntime and onnxruntime-gpu", "both write the same folder; one is broken", fix
        )
    if not installed:
        return Finding("onnxruntime", "ok", "not installed", f"--backend {ONNXRUNTIME} needs it")
    return Finding("onnxruntime", "ok", installed[0], f"its providers: {_providers()}")


def _providers() -> str:
    """The providers this build of ONNX Runtime says it has; which of them load, a session shows."""
    try:
        import onnxruntime
    except ImportError as error:
        return f"none, for it cannot be loaded ({error})"
    return ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _data() -> Finding:
    from dogfast.config.data import DataConfig
    from dogfast.data.places import DATA_VARIABLE, locate
    from dogfast.data.sets import SETS

    root = os.environ.get(DATA_VARIABLE)
    if not root:
        return Finding(f"${DATA_VARIABLE}", "ok", "not set", "data sets are then found by --data NAME=PATH, or at the hub")
    there = Path(root).is_dir()
    held = ", ".join(name for name in SETS if locate(name, DataConfig())) or "none"
    fix = "" if there else "create the folder or unset the variable"
    return Finding(f"${DATA_VARIABLE}", "ok" if there else "fail", root, f"sets known by name: {held}", fix)
