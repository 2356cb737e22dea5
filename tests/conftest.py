"""What many packages' tests share: an untrained generator of Stable Diffusion's layout, made in seconds."""

import json
import os
import shutil
import tempfile
from pathlib import Path
from shutil import copytree

import pytest

from tests.caches import CACHES

ASSETS = Path(__file__).parent.parent / "dogfast" / "assets" / "tiny"

TEXT = dict(
    hidden_size=32,
    intermediate_size=64,
    projection_dim=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=16,
    hidden_act="quick_gelu",
)
VISION = dict(
    hidden_size=32,
    intermediate_size=64,
    projection_dim=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=32,
    patch_size=8,
    hidden_act="quick_gelu",
)
UNET = dict(
    sample_size=8,
    in_channels=4,
    out_channels=4,
    block_out_channels=(16, 32),
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    layers_per_block=1,
    cross_attention_dim=32,
    attention_head_dim=2,
    norm_num_groups=8,
)
AUTOENCODER = dict(
    in_channels=3,
    out_channels=3,
    latent_channels=4,
    sample_size=32,
    block_out_channels=(8, 8, 16),
    down_block_types=("DownEncoderBlock2D",) * 3,
    up_block_types=("UpDecoderBlock2D",) * 3,
    layers_per_block=1,
    norm_num_groups=4,
    scaling_factor=0.5,
)
TINY_DECODER = dict(
    encoder_block_out_channels=(8, 8, 8),
    decoder_block_out_channels=(8, 8, 8),
    num_encoder_blocks=(1, 1, 1),
    num_decoder_blocks=(1, 1, 1),
    latent_channels=4,
)
SCHEDULER = dict(
    _class_name="PNDMScheduler",
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    set_alpha_to_one=False,
    skip_prk_steps=True,
)
COMPONENTS = {
    "scheduler": ("diffusers", "PNDMScheduler"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "image_encoder": (None, None),
    "feature_extractor": (None, None),
    "safety_checker": (None, None),
}


def pytest_configure(config):
    """No test reads or writes the user's engines and embeddings; the commands that tests start share those of the session.

    The session's processes inherit them, and share the cores: one thread each.
    """
    if hasattr(config, "workerinput"):
        return
    for variable in CACHES:
        os.environ[variable] = tempfile.mkdtemp(prefix="dogfast-")
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_unconfigure(config):
    if hasattr(config, "workerinput"):
        return
    for variable in CACHES:
        shutil.rmtree(os.environ.pop(variable), ignore_errors=True)


@pytest.fixture(scope="session")
def random_pipeline(tmp_path_factory) -> Path:
    """A folder like `dogfast/assets/tiny` (its tokenizer, its scheduler, 32 px), random weights, under 2 MB. Do not write in it."""
    import torch

    folder = tmp_path_factory.mktemp("generator") / "random"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _write_pipeline(folder)
    return folder


@pytest.fixture
def pipeline_copy(random_pipeline, tmp_path) -> Path:
    """A copy of `random_pipeline` that a test may damage."""
    return Path(copytree(random_pipeline, tmp_path / "generator"))


def _write_pipeline(folder: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    copytree(ASSETS / "tokenizer", folder / "tokenizer")
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    end = vocabulary["<|endoftext|>"]
    ids = dict(vocab_size=len(vocabulary), bos_token_id=end - 1, eos_token_id=end, pad_token_id=end)
    networks = {
        "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT, **ids)),
        "image_encoder": CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)),
        "unet": UNet2DConditionModel(**UNET),
        "vae": AutoencoderKL(**AUTOENCODER),
        "tiny_decoder": AutoencoderTiny(**TINY_DECODER),
    }
    torch.nn.init.normal_(networks["text_encoder"].embeddings.token_embedding.weight, std=0.3)
    for name, network in networks.items():
        network.save_pretrained(folder / name)
    save_file({"weight": torch.randn(TEXT["projection_dim"], TEXT["hidden_size"]) / 6}, folder / "text_projection.safetensors")
    half = [0.5, 0.5, 0.5]
    pixels = dict(
        image_processor_type="CLIPImageProcessor", crop_size=dict(height=32, width=32), image_mean=half, image_std=half
    )
    _write_json(folder / "feature_extractor" / "preprocessor_config.json", pixels)
    _write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    index = {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    _write_json(folder / "model_index.json", index | {name: list(kind) for name, kind in COMPONENTS.items()})


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2))


@pytest.fixture
def few_test_images(monkeypatch):
    """`shapes` with 16 test images."""
    monkeypatch.setattr("dogfast.data.catalogue.SHAPES_TEST_IMAGES", 16)


@pytest.fixture
def run(tmp_path):
    """A run in which nothing was done."""
    from dogfast.run import Run, publish

    run = Run(tmp_path / "run")
    publish(run.root / "run.json", '{"stages": {}}')
    return run
