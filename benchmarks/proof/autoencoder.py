"""What `mini`'s autoencoder takes from an outlier, in one seed: real ones, and the same after they went through it."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

from PIL import Image
from proof.rows import BASELINES, ROWS, Row, compare_rows, prepared
from proof.world import DECODED, World
from recipe.judging import decoded

from dogfast.data.pictures import image_files, unlabelled
from dogfast.diffusion.load import Pipeline
from dogfast.engines.opening import open_networks
from dogfast.events import Events

AUTOENCODED = {name: ROWS[name] for name in (*BASELINES, "oe", "oe+real")} | {"oe+real, decoded": Row("oe", DECODED)}


def run_autoencoder(world: World, seeds: list[int], events: Events) -> dict[str, Any]:
    seeds = world.beside_rows(seeds)
    for seed in seeds:
        with prepared(world, seed, events):
            if not world.decoded(seed).exists():
                _write_decoded(world, seed, events)
    return compare_rows(world, seeds, AUTOENCODED, events)


def _write_decoded(world: World, seed: int, events: Events) -> None:
    """A tar of the real outliers as the autoencoder gives them back, under their names."""
    config = world.config(seed)
    real = unlabelled(image_files(world.real(seed)), config.data.image_px)
    networks = open_networks(Pipeline(config.model, config.model.model), config.model, events)
    images = decoded(networks, real.images)
    target = world.decoded(seed)
    part = target.with_suffix(".part")
    with tarfile.open(part, "w") as kept:
        for key, image in zip(real.keys, images.permute(0, 2, 3, 1).numpy()):
            content = io.BytesIO()
            Image.fromarray(image).save(content, "PNG")
            member = tarfile.TarInfo(f"{os.path.splitext(key)[0]}.png")
            member.size = content.tell()
            content.seek(0)
            kept.addfile(member, content)
    os.replace(part, target)
