"""Images that the safety checker refuses: painted again, counted, never stored."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import torch

import dogfast.synthesis.safety_check as safety_check
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.reader import decode_image, read_records, read_shard
from dogfast.synthesis.safety_check import UNSAFE
from dogfast.synthesis.stage import generate

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))


def test_what_it_refuses_is_painted_again(tmp_path, monkeypatch):
    class Guarded(fakes.FakePipeline):
        safety_checker = torch.nn.Identity()
        safety_pixels = SimpleNamespace(prepared=lambda images: images.float())

    bright = lambda checker, pixels: pixels.flatten(1).mean(1) > 128  # noqa: E731
    monkeypatch.setattr(safety_check, "unsafe", bright)
    monkeypatch.setitem(fakes.installed.__wrapped__.__globals__, "FakePipeline", Guarded)
    config = fakes.config(m=8, guidance_scale=1.0).with_values({"model": {"safety_checker": "own"}}, "test")
    with fakes.installed(), launch(tmp_path / "run", config.to_toml()) as run:
        fakes.write_conditions(config, run, Events())
        result = generate(config, run, Events())
        folder = run.outliers("dog")
        records = read_records(folder)
        stored = [decode_image(folder, sample) for r in records for sample in read_shard(folder / r["tar"])]
        assert run.state["stages"]["synthesis/dog"]["safety_checker"] == "weights of safety_checker"
    assert stored and all(image.mean() <= 128 for image in stored)
    assert sum(record["resampled"] for record in records) > 0
    assert sum(record["faults"].get(UNSAFE, 0) for record in records) == result["failed"]
