"""Stable Diffusion v1.5's true sizes, random weights: graphs and engines in bounded memory, with no GPU and no download."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch

from dogfast.diffusion.random_weights import RandomPipeline
from dogfast.engines.table import axis_sizes, networks_used
from tests.environment import ENVIRONMENT

LIMIT_BYTES = 16 * 2**30
NEEDED_BYTES = 12 * 2**30
"""Of disk, for graphs and engines of every network."""
PARAMETERS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480, "image_encoder": 303_966_208}
"""Of the published networks, the image tower with its projection."""


def built(tmp_path, *words):
    """The answer of `build-engines` at SD v1.5's sizes, and the most memory it held, bytes."""
    if shutil.disk_usage(tmp_path).free < NEEDED_BYTES:
        pytest.skip(f"less than {NEEDED_BYTES / 2**30:.0f} GiB of disk are free")
    command = [sys.executable, "-m", "dogfast", "build-engines", "--model", "sd15", "--random-weights", "--json", *words]
    measured = [sys.executable, "-c", MEASURE, *command, "--engine-dir", str(tmp_path / "engines")]
    done = subprocess.run(measured, env=ENVIRONMENT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["engines"], int(re.search(r"most memory (\d+)", done.stderr)[1])


MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("most memory", 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""


def test_its_sizes_are_the_published_ones():
    with torch.device("meta"):
        pipeline = RandomPipeline()
        counts = {part: sum(weight.numel() for weight in getattr(pipeline, part).parameters()) for part in PARAMETERS}
    assert counts == PARAMETERS
    assert axis_sizes(pipeline, 512) == {
        "tokens": 77, "width": 768, "rgb": 3, "channels": 4, "feature": 320, "latent": 64, "px": 512, "tower_px": 224,
    }  # fmt: skip


def assert_half_precision_plans(tmp_path, networks, *words):
    """Of every network; of some, how large a plan of two bytes a weight may be."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (extra rtx)")
    target = ("--backend", "tensorrt-rtx", "--target", "sm86", "--rows", "4", "--resolution", "256")
    engines, memory = built(tmp_path, *target, *words)
    assert {engine["network"] for engine in engines} == set(networks)
    assert memory < LIMIT_BYTES
    for engine in engines:
        assert engine["precision"] == "fp16" and engine["parity"]["verdict"] == "not run"
        if weights := PARAMETERS.get(engine["network"]):
            assert 2 * weights < engine["bytes"] < 3 * weights, "two bytes a weight are half precision"


@pytest.mark.slow
def test_the_text_encoder_is_built_for_a_gpu_that_is_not_here(tmp_path):
    assert_half_precision_plans(tmp_path, ["text_encoder"], "--network", "text_encoder")


@pytest.mark.sd15
def test_every_network_is_built_for_a_gpu_that_is_not_here(tmp_path):
    assert_half_precision_plans(tmp_path, networks_used(1))


@pytest.mark.sd15
def test_the_unet_computes_on_openvino_what_torch_computes(tmp_path):
    pytest.importorskip("openvino", reason="openvino is not installed (extra cpu)")
    words = ("--backend", "openvino", "--network", "unet", "--rows", "2", "--resolution", "256")
    engines, memory = built(tmp_path, *words)
    assert [engine["rows"] for engine in engines] == [2, 4] and memory < LIMIT_BYTES
    assert all(engine["parity"]["verdict"] == "ok" and engine["parity"]["cosine"] >= 0.999 for engine in engines)
