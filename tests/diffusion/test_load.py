"""Loading by name: folders, the hub's cache, foreign CLIPs; everything damaged is one clear EnvironmentFault."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline, choose_model
from dogfast.errors import EnvironmentFault

NETWORKS = {
    "text_encoder": "model.safetensors",
    "image_encoder": "model.safetensors",
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
}
PARTS = (*NETWORKS, "tokenizer", "text_projection", "pixels", "alphas_cumprod")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def pipeline_of(folder, **options) -> Pipeline:
    return Pipeline(ModelConfig(**options), str(folder))


def fault_of(folder, part, **options) -> str:
    with pytest.raises(EnvironmentFault) as fault:
        getattr(pipeline_of(folder, **options), part)
    message = str(fault.value)
    assert fault.value.exit_code == 3 and "\n" not in message
    return message


def edit_json(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def edit_weights(path: Path, change) -> None:
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


# --- a whole folder ---------------------------------------------------------------------------------------------
def test_a_folder_loads_frozen_in_fp32_on_the_cpu(random_pipeline):
    pipeline = pipeline_of(random_pipeline)
    for name in NETWORKS:
        network = getattr(pipeline, name)
        assert not network.training and network is getattr(pipeline, name)
        for parameter in network.parameters():
            assert not parameter.requires_grad and parameter.dtype == torch.float32 and parameter.device.type == "cpu"
    assert pipeline.text_projection.shape == (24, 32) and pipeline.text_projection.dtype == torch.float32
    assert (pipeline.downscale, pipeline.native_px) == (4, 32)
    assert pipeline.pixels.side_px == 32 and pipeline.pixels.mean == pipeline.pixels.std == (0.5, 0.5, 0.5)
    assert pipeline.alphas_cumprod.shape == (1000,) and len(pipeline.tokenizer) == 697


def test_half_precision_files_are_read_as_fp32(pipeline_copy):
    for part, name in NETWORKS.items():
        edit_weights(pipeline_copy / part / name, lambda weights: {n: w.half() for n, w in weights.items()})
        assert {p.dtype for p in getattr(pipeline_of(pipeline_copy), part).parameters()} == {torch.float32}


def test_key_names_of_sd15s_files_are_understood(random_pipeline, pipeline_copy):
    """Its text encoder says ``text_model.``; its VAE's attention still has diffusers' first names."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old_name(name):
        for new, former in old.items():
            name = name.replace(new, former) if "attentions" in name else name
        return name

    text, vae = pipeline_copy / "text_encoder" / NETWORKS["text_encoder"], pipeline_copy / "vae" / NETWORKS["vae"]
    edit_weights(text, lambda ws: {f"text_model.{n.removeprefix('text_model.')}": w for n, w in ws.items()})
    edit_weights(vae, lambda ws: {old_name(n): w for n, w in ws.items()})
    assert any(n.endswith("proj_attn.weight") for n in load_file(vae))
    for part in ("text_encoder", "vae"):
        ours, theirs = (getattr(pipeline_of(folder), part).state_dict() for folder in (pipeline_copy, random_pipeline))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_a_tokenizer_without_a_length_gets_the_encoders(pipeline_copy):
    (pipeline_copy / "tokenizer" / "tokenizer_config.json").unlink()
    assert pipeline_of(pipeline_copy).tokenizer.model_max_length == 16


def test_diffusers_own_pipeline_paints_from_the_same_folder(random_pipeline):
    from diffusers import StableDiffusionPipeline

    theirs = StableDiffusionPipeline.from_pretrained(random_pipeline)
    theirs.set_progress_bar_config(disable=True)
    images = theirs("a photo of a circle", num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 32, 32, 3)


def test_the_shipped_generator_has_the_layout_too():
    pipeline = Pipeline(ModelConfig(), "tiny")
    assert pipeline.native_px == 32 and pipeline.pixels.side_px == 32
    assert pipeline.text_projection.shape[1] == pipeline.text_encoder.config.hidden_size
    assert len(pipeline.tokenizer("circle", add_special_tokens=False)["input_ids"]) == 1


# --- names ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["nothing", "no/such/folder", "./nothing", "", "sd51"])
def test_what_is_no_name_at_all_is_refused_with_the_known_ones(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentFault, match=r"--model .*tiny.*sd15.*folder.*hub name"):
        Pipeline(ModelConfig(), name)


def test_the_generator_is_chosen_with_its_reason():
    assert choose_model("auto", "shapes").value == "tiny" and choose_model("auto", "cifar10").value == "sd15"
    assert choose_model("x/y", "shapes").value == "x/y" and "--model" in choose_model("x/y", "shapes").reason


def test_an_empty_cache_offline_is_a_fault_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for options in ({"offline": True}, {"HF_HUB_OFFLINE": True}):
        if options.pop("HF_HUB_OFFLINE", False):
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        for part in (*PARTS, "revision"):
            message = fault_of("owner/name", part, **options)
            assert "owner/name" in message and "go online" in message and "--model PATH" in message, (part, message)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The hub's cache in ``tmp_path``, offline, and a function that puts a folder into it under a name and commit."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(folder, name, commit=COMMIT, ref="main"):
        place = cache / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / ref).write_text(commit)

    return put


def test_a_model_in_the_hubs_cache_loads_and_its_revision_is_its_commit(hub, random_pipeline):
    hub(random_pipeline, "owner/name")
    pipeline = pipeline_of("owner/name", offline=True)
    assert pipeline.revision == COMMIT
    for part in PARTS:
        assert getattr(pipeline, part) is not None
    # The commit is known without reading a network.
    fresh = pipeline_of("owner/name", offline=True)
    assert fresh.revision == COMMIT and "unet" not in vars(fresh)


def test_a_pinned_revision_is_the_generators_and_not_asked_of_its_clip(hub, random_pipeline, foreign_clip):
    pinned = "f" * 40
    hub(random_pipeline, "owner/name", pinned, ref="elsewhere")
    hub(foreign_clip, "other/clip")
    pipeline = pipeline_of("owner/name", revision=pinned, clip="other/clip", offline=True)
    assert pipeline.revision == pinned
    assert pipeline.image_encoder is not None and pipeline.text_projection is not None and pipeline.pixels.side_px == 32
    assert "owner/name" in fault_of("owner/name", "unet", offline=True)


# --- damage -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("part", NETWORKS)
def test_a_missing_part_is_named(part, pipeline_copy):
    shutil.rmtree(pipeline_copy / part)
    message = fault_of(pipeline_copy, part)
    assert part in message and str(pipeline_copy) in message and "safetensors" in message


@pytest.mark.parametrize("part", NETWORKS)
@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "absent"])
def test_damaged_weights_are_a_fault(part, damage, pipeline_copy):
    path = pipeline_copy / part / NETWORKS[part]
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "garbage": b"\xff\xfe no tensors", "empty": b""}[damage])
    assert part in fault_of(pipeline_copy, part)


@pytest.mark.parametrize("part", NETWORKS)
def test_weights_that_are_not_in_the_file_are_never_made_up(part, pipeline_copy):
    """transformers and diffusers both fill them with random numbers and say nothing above a warning."""
    path = pipeline_copy / part / NETWORKS[part]
    gone = sorted(load_file(path))[0]
    edit_weights(path, lambda weights: {name: value for name, value in weights.items() if name != gone})
    message = fault_of(pipeline_copy, part)
    assert part in message and "not in its file" in message


@pytest.mark.parametrize("part", NETWORKS)
@pytest.mark.parametrize("content", ["{not json", "[1]", b"\xff\xfe", '{"hidden_size": "x", "block_out_channels": "x"}'])
def test_damaged_configurations_are_a_fault(part, content, pipeline_copy):
    path = pipeline_copy / part / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert part in fault_of(pipeline_copy, part)


@pytest.mark.parametrize("part", NETWORKS)
def test_pickles_are_never_read(part, pipeline_copy, monkeypatch):
    path = pipeline_copy / part / NETWORKS[part]
    weights = load_file(path)
    path.unlink()
    for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin", "model.bin"):
        torch.save(weights, pipeline_copy / part / name)

    def opened(*args, **kwargs):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(torch, "load", opened)
    assert part in fault_of(pipeline_copy, part)


@pytest.mark.parametrize("damage", ["absent", "no vocab.json", "no merges.txt", "garbage", "foreign"])
def test_a_damaged_tokenizer_is_a_fault_and_never_an_empty_one(damage, pipeline_copy):
    folder = pipeline_copy / "tokenizer"
    if damage == "absent":
        shutil.rmtree(folder)
    elif damage.startswith("no "):
        (folder / damage.removeprefix("no ")).unlink()
    elif damage == "garbage":
        (folder / "vocab.json").write_bytes(b"\xff\xfe")
    else:
        edit_json(folder / "vocab.json", another=697)
    assert "tokenizer" in fault_of(pipeline_copy, "tokenizer")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"crop_size": {}, "image_mean": [0], "image_std": [1]}'])
def test_a_damaged_preprocessor_is_a_fault(content, pipeline_copy):
    path = pipeline_copy / "feature_extractor" / "preprocessor_config.json"
    path.unlink() if content is None else path.write_text(content)
    assert "preprocessor_config.json" in fault_of(pipeline_copy, "pixels")


@pytest.mark.parametrize(
    "size", [{"crop_size": 48}, {"size": {"shortest_edge": 48}}, {"crop_size": {"height": 48, "width": 48}}]
)
def test_every_spelling_of_an_image_size_is_read(size, pipeline_copy):
    path = pipeline_copy / "feature_extractor" / "preprocessor_config.json"
    path.write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]} | size))
    pixels = pipeline_of(pipeline_copy).pixels
    assert (pixels.side_px, pixels.mean) == (48, (0.1, 0.2, 0.3))


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", b"\xff\xfe"])
def test_a_damaged_scheduler_is_a_fault(content, pipeline_copy):
    path = pipeline_copy / "scheduler" / "scheduler_config.json"
    path.unlink() if content is None else path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert "scheduler_config.json" in fault_of(pipeline_copy, "alphas_cumprod")


@pytest.mark.parametrize("damage", ["absent", "garbage", "other name"])
def test_a_damaged_projection_is_a_fault_that_names_clip(damage, pipeline_copy):
    path = pipeline_copy / "text_projection.safetensors"
    path.unlink()
    if damage == "garbage":
        path.write_bytes(b"{")
    elif damage == "other name":
        save_file({"projection": torch.zeros(24, 32)}, path)
    message = fault_of(pipeline_copy, "text_projection")
    assert "text_projection.safetensors" in message and "--clip" in message


# --- what a run remembers ---------------------------------------------------------------------------------------
def test_the_revision_follows_weights_and_configuration_and_nothing_else(pipeline_copy):
    def revision():
        return pipeline_of(pipeline_copy).revision

    seen = [revision()]
    assert seen[0] == revision() and len(seen[0]) == 16
    (pipeline_copy / "notes.md").write_text("mine")
    (pipeline_copy / "v1-5-pruned.safetensors").write_bytes(b"many gigabytes of another format, never loaded")
    assert revision() == seen[0]
    for part, name in NETWORKS.items():
        edit_weights(pipeline_copy / part / name, lambda ws: {n: w + (i == 0) for i, (n, w) in enumerate(sorted(ws.items()))})
        seen.append(revision())
    edit_weights(pipeline_copy / "text_projection.safetensors", lambda ws: {n: w + 1 for n, w in ws.items()})
    seen.append(revision())
    edit_json(pipeline_copy / "scheduler" / "scheduler_config.json", beta_end=0.013)
    seen.append(revision())
    with open(pipeline_copy / "tokenizer" / "merges.txt", "a") as file:
        file.write("a b\n")
    seen.append(revision())
    assert len(set(seen)) == len(seen)


def test_the_revision_does_not_depend_on_the_place(random_pipeline, pipeline_copy):
    assert pipeline_of(random_pipeline).revision == pipeline_of(pipeline_copy).revision


# --- facts without weights --------------------------------------------------------------------------------------
def test_sizes_are_known_without_reading_weights(pipeline_copy):
    for path in pipeline_copy.rglob("diffusion_pytorch_model.safetensors"):
        path.unlink()
    pipeline = pipeline_of(pipeline_copy)
    assert (pipeline.native_px, pipeline.downscale, pipeline.latent_channels, pipeline.width) == (32, 4, 4, 32)


@pytest.mark.parametrize(
    "part, key, fact",
    [
        ("unet", "sample_size", "native_px"),
        ("unet", "in_channels", "latent_channels"),
        ("vae", "block_out_channels", "downscale"),
    ],
)
def test_a_size_that_is_not_told_is_a_fault(pipeline_copy, part, key, fact):
    path = pipeline_copy / part / "config.json"
    config = json.loads(path.read_text())
    del config[key]
    path.write_text(json.dumps(config))
    assert f"{part}/config.json" in (message := fault_of(pipeline_copy, fact)) and f"{key} is missing" in message


def test_a_unet_that_wants_to_be_told_the_guidance_scale_is_refused(random_pipeline, pipeline_copy):
    """A model that was distilled as a whole, such as LCM's; nothing would feed that input."""
    unet = pipeline_of(random_pipeline).unet
    type(unet).from_config(dict(unet.config) | {"time_cond_proj_dim": 16}).save_pretrained(pipeline_copy / "unet")
    assert "--lora" in (message := fault_of(pipeline_copy, "unet")) and "time_cond_proj_dim" in message


def test_what_is_released_is_loaded_again(random_pipeline):
    pipeline = pipeline_of(random_pipeline)
    first = pipeline.unet
    pipeline.release("unet")
    pipeline.release("unet")
    assert pipeline.unet is not first
    assert all(torch.equal(a, b) for a, b in zip(pipeline.unet.parameters(), first.parameters()))


# --- the small decoder ------------------------------------------------------------------------------------------
def test_a_folder_may_hold_its_small_decoder(random_pipeline):
    pipeline = pipeline_of(random_pipeline)
    assert pipeline.has_tiny_decoder and pipeline.tiny_decoder.config.latent_channels == 4


def test_a_small_decoder_may_lie_elsewhere(random_pipeline, pipeline_copy, tmp_path):
    shutil.move(pipeline_copy / "tiny_decoder", tmp_path / "taesd")
    alone = pipeline_of(pipeline_copy)
    assert not alone.has_tiny_decoder and "--tiny-decoder" in fault_of(pipeline_copy, "tiny_decoder")
    given = pipeline_of(pipeline_copy, tiny_decoder=str(tmp_path / "taesd"))
    assert given.has_tiny_decoder
    for ours, theirs in zip(given.tiny_decoder.parameters(), pipeline_of(random_pipeline).tiny_decoder.parameters()):
        assert torch.equal(ours, theirs)
    assert given.weights("unet") == alone.weights("unet") != given.weights("tiny_decoder")


def test_weights_are_told_apart_by_the_part_they_belong_to(random_pipeline, foreign_clip):
    own, mixed = pipeline_of(random_pipeline), pipeline_of(random_pipeline, clip=str(foreign_clip))
    assert own.weights("unet") == mixed.weights("unet") == own.revision
    assert mixed.weights("image_encoder") != own.weights("image_encoder")
    assert mixed.weights("text_encoder").startswith(own.revision), "its projection is the foreign CLIP's"
    before = mixed.weights("image_encoder")
    edit_weights(foreign_clip / "model.safetensors", lambda ws: {n: w + 1 for n, w in ws.items()})
    assert pipeline_of(random_pipeline, clip=str(foreign_clip)).weights("image_encoder") != before


# --- another CLIP -----------------------------------------------------------------------------------------------
@pytest.fixture
def foreign_clip(random_pipeline, tmp_path) -> Path:
    """Both towers of `random_pipeline` as one CLIPModel, the form of openai/clip-vit-large-patch14."""
    from transformers import CLIPConfig, CLIPModel

    own = pipeline_of(random_pipeline)
    config = CLIPConfig(
        text_config=own.text_encoder.config.to_dict(),
        vision_config=own.image_encoder.config.to_dict(),
        projection_dim=own.text_encoder.config.projection_dim,
    )
    clip = CLIPModel(config)
    with torch.no_grad():
        clip.text_model.load_state_dict({n.removeprefix("text_model."): p for n, p in own.text_encoder.state_dict().items()})
        vision = {n.removeprefix("vision_model."): p for n, p in own.image_encoder.state_dict().items()}
        clip.visual_projection.weight.copy_(vision.pop("visual_projection.weight"))
        clip.vision_model.load_state_dict(vision)
        clip.text_projection.weight.copy_(own.text_projection)
    folder = tmp_path / "clip"
    clip.save_pretrained(folder)
    shutil.copy(random_pipeline / "feature_extractor" / "preprocessor_config.json", folder)
    return folder


def test_a_clip_of_the_same_text_tower_is_accepted(random_pipeline, foreign_clip):
    own, other = pipeline_of(random_pipeline), pipeline_of(random_pipeline, clip=str(foreign_clip))
    assert torch.equal(own.text_projection, other.text_projection) and not other.text_projection.requires_grad
    ours, theirs = own.image_encoder.state_dict(), other.image_encoder.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    assert own.pixels == other.pixels


def test_a_generator_without_a_clip_of_its_own_works_with_one_given(pipeline_copy, foreign_clip):
    """As Stable Diffusion v1.5 is published: no projection, no image tower."""
    (pipeline_copy / "text_projection.safetensors").unlink()
    shutil.rmtree(pipeline_copy / "image_encoder")
    given = pipeline_of(pipeline_copy, clip=str(foreign_clip))
    assert given.text_projection.shape == (24, 32) and given.image_encoder is not None
    assert "--clip" in fault_of(pipeline_copy, "text_projection")


@pytest.mark.parametrize("kind", ["weights", "layers"])
def test_a_clip_of_another_text_tower_is_refused(kind, random_pipeline, foreign_clip):
    path = foreign_clip / "model.safetensors"
    if kind == "weights":
        name = next(n for n in sorted(load_file(path)) if n.startswith("text_model.") and n.endswith("fc1.weight"))
        edit_weights(path, lambda weights: {n: w + 0.1 * (n == name) for n, w in weights.items()})
    else:
        config = json.loads((foreign_clip / "config.json").read_text())
        config["text_config"]["num_hidden_layers"] = 1
        (foreign_clip / "config.json").write_text(json.dumps(config))
    message = fault_of(random_pipeline, "text_projection", clip=str(foreign_clip))
    assert "--clip" in message and "not the one of --model" in message


def test_another_width_is_another_tower(random_pipeline, tmp_path):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    text = pipeline_of(random_pipeline).text_encoder.config
    wide = CLIPTextConfig(**{**text.to_dict(), "hidden_size": 64})
    CLIPTextModelWithProjection(wide).save_pretrained(tmp_path / "wide")
    assert "not the one of --model" in fault_of(random_pipeline, "text_projection", clip=str(tmp_path / "wide"))


def test_a_clip_without_an_image_tower_is_refused_rather_than_invented(random_pipeline, foreign_clip):
    edit_weights(foreign_clip / "model.safetensors", lambda ws: {n: w for n, w in ws.items() if "vis" not in n})
    message = fault_of(random_pipeline, "image_encoder", clip=str(foreign_clip))
    assert f"--clip {foreign_clip}" in message and "not in its file" in message


def test_a_missing_clip_folder_is_named_by_its_own_flag(random_pipeline, tmp_path):
    for part in ("text_projection", "image_encoder", "pixels"):
        message = fault_of(random_pipeline, part, clip=str(tmp_path / "gone"), offline=True)
        assert "--clip" in message and "gone" in message
