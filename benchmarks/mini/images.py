"""The photographs `mini` learns from, decoded once and kept as uint8."""

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from recipe.bank import Bank, to_signed
from safetensors.torch import load_file, save_file
from settings import CIFAR_SHARE, SIDE_PX
from torch import Tensor
from vocabulary import concepts

from dogfast.data.augment import Draws, random_crop_flip

SETS = ("cifar10-train.tar", "tiny-imagenet32-train.tar")


def load_bank(data: Path, kept: Path) -> Bank:
    """CIFAR-10's training images, then Tiny ImageNet's of the concepts that are not held out. ``kept``: a file of the same."""
    if not kept.exists():
        images, labels = photographs(data, SETS)
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file({"images": images, "labels": labels}, kept)
    found = load_file(kept)
    images, labels = found["images"], found["labels"]
    first = int((labels < len(concepts()[0])).sum())
    chances = torch.full((len(images),), (1 - CIFAR_SHARE) / (len(images) - first))
    chances[:first] = CIFAR_SHARE / first
    return Bank(images, labels, chances)


def photographs(data: Path, files: tuple[str, str]) -> tuple[Tensor, Tensor]:
    """Of a tar of CIFAR-10's, then of one of Tiny ImageNet's: images (n, 3, H, W) of the concepts and which they show (n,)."""
    cifar, tiny = concepts()
    images, labels = zip(*(decode(data / file, [each.folder for each in group]) for file, group in zip(files, (cifar, tiny))))
    return torch.cat(images), torch.cat([labels[0], labels[1] + len(cifar)])


def decode(tar: Path, folders: list[str]) -> tuple[Tensor, Tensor]:
    """Images (n, 3, H, W) of a tar of `class/number.jpg` whose class is one of ``folders``, by name, and its place among them."""
    place = {folder: index for index, folder in enumerate(folders)}
    with tarfile.open(tar) as given:
        members = sorted((each for each in given if each.name.partition("/")[0] in place), key=lambda each: each.name)
        pixels = [np.asarray(Image.open(io.BytesIO(given.extractfile(each).read())).convert("RGB")) for each in members]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
    assert images.shape[1:] == (3, SIDE_PX, SIDE_PX), images.shape
    return images, torch.tensor([place[each.name.partition("/")[0]] for each in members])


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 to [-1, 1], half of them mirrored."""
    return to_signed(random_crop_flip(images, 0, Draws(generator, len(images))))


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 to [-1, 1], shifted by up to 4 px and half of them mirrored."""
    return to_signed(random_crop_flip(images, 4, Draws(generator, len(images))))
