"""A generator without weights: an image is a function of its noise and prompt, so that kills and resumes take moments.

Read by tests of several packages through `runpy` (test modules are not importable by name).
"""

import hashlib
import time
from contextlib import contextmanager

import torch

from dogfast.config import RunConfig
from dogfast.diffusion.noise import gaussian_noise
from dogfast.engines.networks import Networks
from dogfast.run import write_jsonl

SIDE = 16
CLASSES = ("circle", "ring/of ☃", "cross")
WORDS = (("oval",), ("frame", "bullseye"), ("star", "burst", "plus"))
LAST_SIGNAL = 0.25
"""Signal variance at the noisiest step; clean latents are the noise over its root."""


class Tokenizer:
    model_max_length = 4

    def __call__(self, prompts, **options):
        return {"input_ids": torch.tensor([list(hashlib.sha256(prompt.encode()).digest()[:4]) for prompt in prompts])}


class FakePipeline:
    """As much of a pipeline as synthesis asks for; the seeds' latents are half the image's side."""

    revision, native_px, downscale, has_tiny_decoder = "r0", SIDE, 2, False
    tokenizer = Tokenizer()
    latent_channels, feature_channels = 4, 1
    alphas_cumprod = torch.linspace(0.99, LAST_SIGNAL, 100, dtype=torch.float64)

    def __init__(self, config, model):
        self.name = self.place = model

    def weights(self, part):
        return f"weights of {part}"


def networks(calls=None, spoil=None, pause_s=0.0, text_strength=0.1, fits=None, full="CUDA out of memory"):
    """Fake networks. ``calls`` collects the rows of every denoising and decoding. Beyond ``fits`` rows the device is ``full``.

    ``spoil`` maps seeds to faults, for noise marked by :func:`marked_noise`: "nan", "black", "flat", or the seed whose image
    is copied.
    """
    calls, spoil = [] if calls is None else calls, spoil or {}

    def encode_text(ids):
        states = (ids.float() / 255)[:, :, None].expand(-1, -1, 2).contiguous()
        return states, states[:, 0]

    def encode(images):
        calls.append(("encode", len(images)))
        latents = torch.nn.functional.avg_pool2d(images, 2)
        return torch.cat([latents, latents.mean(1, keepdim=True)], 1)

    def denoise(latents, timesteps, text):
        assert len(latents) == len(timesteps) == len(text)
        calls.append(("denoise", len(latents)))
        if fits is not None and len(latents) > fits:
            raise RuntimeError(full)
        time.sleep(pause_s)
        return torch.zeros_like(latents) + text_strength * text[:, :1, :1, None]

    def denoise_deep(latents, timesteps, text):
        calls.append(("deep", len(latents)))
        feature = text_strength * text[:, :1, :1, None]
        return torch.zeros_like(latents) + feature, feature

    def denoise_shallow(latents, timesteps, text, feature):
        assert len(latents) == len(timesteps) == len(text) == len(feature)
        calls.append(("shallow", len(latents)))
        return torch.zeros_like(latents) + feature

    def decode(latents, decoder="decode"):
        calls.append((decoder, len(latents)))
        images = (latents[:, :3] / 8).clamp(-1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
        for row, seed in enumerate((latents[:, 3, 0, 0] * LAST_SIGNAL**0.5).round().tolist()):
            if seed in spoil:
                images[row] = _spoilt(spoil[seed], images.shape[1:])
        return images

    def decode_tiny(latents):
        return decode(latents, "decode_tiny")

    denoisers = denoise, denoise_deep, denoise_shallow
    return Networks(encode_text, lambda images: images, encode, *denoisers, decode, decode_tiny, "fake", "cpu", "fp32")


def _spoilt(fault, shape):
    if isinstance(fault, int):
        return torch.randn(shape, generator=torch.Generator().manual_seed(fault)).clamp(-1, 1)
    return torch.full(shape, {"nan": float("nan"), "inf": float("inf"), "black": -1.0, "flat": 0.3}[fault])


def marked_noise(seeds, shape):
    """Noise whose fourth channel tells the seed (below 2**24); the image does not show it."""
    noise = gaussian_noise(seeds, shape)
    noise[:, 3] = torch.tensor(seeds, dtype=torch.float32)[:, None, None]
    return noise


def conditions():
    return [
        {"cls": y, "class_name": name, "strategy": "dog", "anchor": word, "text": [[f"a photo of a {word}", 1.0]]}
        for y, name in enumerate(CLASSES)
        for word in WORDS[y]
    ]


def write_conditions(config, run, events):
    """In the place of `find_anchors`."""
    if not run.conditions.exists():
        write_jsonl(run.conditions, conditions())
    return {"run": str(run.root), "anchors": len(conditions()), "resumed": False}


def config(**synthesis):
    values = {"m": 3, "steps": 2, "samples_per_shard": 4, "rows": 4} | synthesis
    data, model = {"image_px": SIDE}, {"model": "fake", "device": "cpu", "precision": "fp32"}
    return RunConfig().with_values({"data": data, "model": model, "synthesis": values}, "test")


@contextmanager
def installed(**options):
    """The fake generator in the place of the real one, in `generate`."""
    import dogfast.synthesis.encoding as encoding
    import dogfast.synthesis.job as job
    import dogfast.synthesis.worker as worker

    kept = job.Pipeline, worker.open_networks
    job.Pipeline, worker.open_networks = FakePipeline, lambda pipeline, config, events: networks(**options)
    encoding.open_networks = worker.open_networks
    try:
        yield
    finally:
        job.Pipeline, worker.open_networks = kept
        encoding.open_networks = worker.open_networks


def tars(folder):
    """Bytes of every tar by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tar"))}


def leftovers(root):
    """Files under a temporary name."""
    return [path for path in root.rglob("*") if ".part-" in path.name]
