"""A LoRA fused into the UNet: what it adds, what it changes of the pipeline's identity, and files that are none."""

import re
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from dogfast.config.model import ModelConfig
from dogfast.diffusion.load import Pipeline
from dogfast.diffusion.lora import LORA_FILE
from dogfast.errors import EnvironmentFault

pytest.importorskip("peft", reason="peft is not installed")


def pipeline(folder, lora=""):
    return Pipeline(ModelConfig(lora=str(lora), offline=True), str(folder))


def predicted(unet):
    generator = torch.Generator().manual_seed(0)
    latents, states = (torch.randn(2, *shape, generator=generator) for shape in ((4, 8, 8), (7, 32)))
    with torch.no_grad():
        return unet(latents, torch.tensor([10.0, 900.0]), states).sample


@pytest.fixture(scope="module")
def adapted(random_pipeline, tmp_path_factory):
    """A folder with a LoRA as diffusers saves it, and what the UNet predicts with the adapter beside its weights."""
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    folder, unet = tmp_path_factory.mktemp("lora"), pipeline(random_pipeline).unet
    torch.manual_seed(0)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    for name, weight in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    metadata = unet.peft_config["default"].to_dict()
    metadata["target_modules"] = sorted(metadata["target_modules"])
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=state, unet_lora_adapter_metadata=metadata)
    return folder, predicted(unet)


def kohya(folder, alpha=4.0):
    """The same LoRA in the form that most are shared in."""
    found = {}
    for key, weight in load_file(folder / LORA_FILE).items():
        module, half = re.fullmatch(r"unet\.(.*)\.lora(?:_|\.)(A|B|down|up)\.weight", key).groups()
        name = "lora_unet_" + module.replace(".", "_").replace("to_out_0", "to_out.0")
        found[f"{name}.lora_{'down' if half in ('A', 'down') else 'up'}.weight"] = weight
        found[f"{name}.alpha"] = torch.tensor(alpha)
    return found


def test_fused_weights_predict_what_the_adapter_does(random_pipeline, adapted):
    folder, wanted = adapted
    for place in (folder, folder / LORA_FILE):
        unet = pipeline(random_pipeline, place).unet
        assert not [name for name, _ in unet.named_parameters() if "lora" in name], "nothing of the adapter is left"
        assert not any(weight.requires_grad for weight in unet.parameters())
        torch.testing.assert_close(predicted(unet), wanted)
    plain = predicted(pipeline(random_pipeline).unet)
    assert (wanted - plain).abs().max() > 1e-3, "the LoRA changes what is predicted"


def test_the_form_that_is_shared_most_is_fused_with_its_alpha(random_pipeline, adapted, tmp_path):
    folder, wanted = adapted
    save_file(kohya(folder), tmp_path / "shared.safetensors")
    torch.testing.assert_close(predicted(pipeline(random_pipeline, tmp_path / "shared.safetensors").unet), wanted)


def test_a_lora_is_part_of_what_the_generator_is_and_of_its_unet_alone(random_pipeline, adapted):
    plain, fused = pipeline(random_pipeline), pipeline(random_pipeline, adapted[0])
    assert fused.revision.startswith(f"{plain.revision}+lora-")
    assert fused.weights("unet") != plain.weights("unet")
    assert all(fused.weights(part) == plain.weights(part) for part in ("vae", "text_encoder", "image_encoder", "tiny_decoder"))


@pytest.mark.parametrize(
    "content, said",
    [
        ({}, "nothing"),
        ({"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": torch.zeros(2, 32)}, "not the UNet's"),
        ({"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(2, 5)}, "cannot fuse"),
        ({"some.weight": torch.zeros(3)}, "cannot fuse"),
    ],
)
def test_what_is_no_lora_of_this_unet_is_named(random_pipeline, tmp_path, content, said):
    save_file(content, tmp_path / "odd.safetensors")
    with pytest.raises(EnvironmentFault, match=r"--lora .*odd\.safetensors") as caught:
        _ = pipeline(random_pipeline, tmp_path / "odd.safetensors").unet
    assert said in str(caught.value)


def test_a_file_that_is_no_safetensors_is_named(random_pipeline, tmp_path):
    (tmp_path / "odd.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(EnvironmentFault, match=r"--lora .*odd\.safetensors"):
        _ = pipeline(random_pipeline, tmp_path / "odd.safetensors").unet


@pytest.mark.parametrize("place", ["nonesuch", "a/b/c", "folder"])
def test_a_place_without_a_lora_is_named(random_pipeline, tmp_path, monkeypatch, place):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EnvironmentFault, match=f"--lora '{place}' is neither"):
        _ = pipeline(random_pipeline, place).revision


def test_a_hub_name_that_cannot_be_had_is_told_with_its_flag(random_pipeline):
    with pytest.raises(EnvironmentFault, match=r"--lora owner/nonesuch: cannot load .*--lora PATH"):
        _ = pipeline(random_pipeline, "owner/nonesuch").revision


def test_without_peft_the_extra_is_named(random_pipeline, adapted, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EnvironmentFault, match=r"dogfast\[lora\]"):
        _ = pipeline(random_pipeline, adapted[0]).unet
