"""The safety checker against the published one's own forward pass, image for image."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import SAFETY_CHECKER, Pipeline
from dogfast.diffusion.safety import unsafe
from dogfast.errors import EnvironmentFault

VISION = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
HALF = dict(
    image_processor_type="CLIPImageProcessor", crop_size=dict(height=32, width=32), image_mean=[0.5] * 3, image_std=[0.5] * 3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checker with random weights as diffusers writes it, with how it wants its images."""
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig

    torch.manual_seed(0)
    checker = StableDiffusionSafetyChecker(CLIPConfig(projection_dim=24, vision_config=VISION))
    for concepts in (checker.concept_embeds, checker.special_care_embeds):
        torch.nn.init.normal_(concepts)
    for thresholds, level in ((checker.concept_embeds_weights, 0.31), (checker.special_care_embeds_weights, 0.12)):
        thresholds.data.fill_(level)
    place = tmp_path_factory.mktemp("checker")
    checker.save_pretrained(place)
    (place / "preprocessor_config.json").write_text(json.dumps(HALF))
    return place


def pipeline_of(model, checker):
    return Pipeline(ModelConfig(safety_checker=str(checker)), str(model))


def test_it_refuses_what_the_published_checker_refuses(random_pipeline, folder):
    pipeline = pipeline_of(random_pipeline, folder)
    images = torch.randint(0, 256, (96, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images[:48] //= torch.arange(1, 49, dtype=torch.uint8)[:, None, None, None]
    pixels = pipeline.safety_pixels.prepared(images)
    _, theirs = pipeline.safety_checker(pixels, [torch.zeros(1)] * len(images))
    assert unsafe(pipeline.safety_checker, pixels).tolist() == theirs
    assert 0 < sum(theirs) < len(theirs), "both answers occur"


def test_the_special_care_concepts_make_it_stricter(random_pipeline, folder):
    checker = pipeline_of(random_pipeline, folder).safety_checker
    pixels = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    found = []
    for level in (1.0, -1.0):  # nothing, and everything, comes near a special-care concept
        checker.special_care_embeds_weights.data.fill_(level)
        found.append(unsafe(checker, pixels))
    assert (found[0] <= found[1]).all() and found[0].sum() < found[1].sum()


def test_the_models_own_checker_is_one_of_its_parts(pipeline_copy, folder):
    from shutil import copy, copytree

    copytree(folder, pipeline_copy / SAFETY_CHECKER)
    copy(folder / "preprocessor_config.json", pipeline_copy / "feature_extractor")
    without, own = Pipeline(ModelConfig(), str(pipeline_copy)), pipeline_of(pipeline_copy, "own")
    assert own.safety_checker.concept_embeds.shape == (17, 24) and own.safety_pixels.side_px == 32
    assert own.weights(SAFETY_CHECKER) == own.revision == without.revision
    foreign = pipeline_of(pipeline_copy, folder)
    assert foreign.weights(SAFETY_CHECKER) not in ("", foreign.revision)


@pytest.mark.parametrize("damage", ["absent", "not a checker"])
def test_what_is_no_checker_is_named_with_its_flag(random_pipeline, folder, tmp_path, damage):
    place = tmp_path / "checker"
    place.mkdir()
    if damage == "not a checker":
        (place / "config.json").write_text((folder / "config.json").read_text())
        kept = {name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if name != "concept_embeds"}
        save_file(kept, place / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EnvironmentFault, match=r"--safety-checker .*cannot load the safety checker"):
        _ = pipeline_of(random_pipeline, place).safety_checker
