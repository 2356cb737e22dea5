"""Classifiers of the transformers library: tiny ones from a folder, their record, and what is refused."""

import json

import pytest
import torch

from dogfast.classifiers.evidence import collect_evidence
from dogfast.classifiers.huggingface import IMAGENET, Published, check_size, from_architecture
from dogfast.classifiers.loading import load_classifier, save_classifier
from dogfast.errors import DataError, EnvironmentFault, UsageError


def vit(classes=3):
    from transformers import ViTConfig, ViTForImageClassification

    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return ViTForImageClassification(ViTConfig(**size, image_size=16, patch_size=8, num_labels=classes))


def resnet(classes=3):
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=classes)
    return ResNetForImageClassification(config)


KINDS = {"vit": vit, "resnet": resnet}


@pytest.fixture(params=KINDS)
def network(request, tmp_path):
    """A tiny network as its authors would publish it, and its place."""
    torch.manual_seed(0)
    network = KINDS[request.param]().eval()
    network.save_pretrained(tmp_path / "published")
    return network, f"hf:{tmp_path / 'published'}"


@pytest.fixture
def place(tmp_path):
    torch.manual_seed(0)
    vit().save_pretrained(tmp_path / "published")
    return tmp_path / "published"


def images(n=4):
    return torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def facts_of(published, model, backbone):
    names, normal = ["a", "b", "c"], {name: getattr(model, name).tolist() for name in ("mean", "std")}
    return {"backbone": backbone, "class_names": names, "image_px": 16, "dropout": 0.0, **normal} | {
        "architecture": published.architecture()
    }


def test_logits_are_the_networks_own_behind_the_normalisation(network):
    network, backbone = network
    model, headless = Published(backbone, offline=True).load(3)
    normalised = (images() / 255 - torch.tensor(IMAGENET[0])[:, None, None]) / torch.tensor(IMAGENET[1])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images() / 255), network(normalised).logits)
    assert not headless and model.features(images() / 255).shape == (4, 16)


def test_another_number_of_classes_gets_a_fresh_head(network):
    network, backbone = network
    model, headless = Published(backbone, offline=True).load(7)
    assert headless and model.head.out_features == 7
    kept = {name.removeprefix("module."): tensor for name, tensor in model.state_dict().items()}
    for name, tensor in network.state_dict().items():
        assert name.startswith("classifier") or torch.equal(kept[name], tensor)


def test_the_record_is_enough_to_load_it(network, tmp_path, monkeypatch):
    _, backbone = network
    published = Published(backbone, offline=True)
    model, _ = published.load(3)
    save_classifier(tmp_path / "ce", model, facts_of(published, model, backbone))
    for path in (tmp_path / "published").iterdir():
        path.unlink()
    before = torch.get_rng_state()
    loaded, facts = load_classifier(tmp_path / "ce")
    assert torch.equal(torch.get_rng_state(), before) and facts["architecture"]["model_type"]
    assert "id2label" not in facts["architecture"] and str(tmp_path) not in json.dumps(facts["architecture"])
    one, two = (collect_evidence(m, images(), 4, "cpu", "fp32") for m in (model, loaded))
    assert torch.equal(one.logits, two.logits) and torch.equal(one.features, two.features)


def test_the_normalisation_is_the_one_it_was_published_with(place):
    published = Published(f"hf:{place}", offline=True)
    assert published.normalisation() == IMAGENET
    for said, expected in (
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}, ((0.5,) * 3, (0.25,) * 3)),
        ({"image_mean": [0.5] * 3, "do_normalize": False}, ((0.0,) * 3, (1.0,) * 3)),
    ):
        (place / "preprocessor_config.json").write_text(json.dumps(said))
        assert published.normalisation() == expected


@pytest.mark.parametrize("said", ["[1]", "{", '{"image_mean": [1]}', '{"image_std": [0, 0, 0]}', '{"image_mean": "abc"}'])
def test_a_preprocessor_that_says_nonsense_is_refused(place, said):
    (place / "preprocessor_config.json").write_text(said)
    with pytest.raises(EnvironmentFault, match=r"--backbone hf:.*cannot be loaded"):
        Published(f"hf:{place}", offline=True).load(3)


def test_the_identity_is_what_the_folder_holds(place, tmp_path):
    first = Published(f"hf:{place}", offline=True).identity()
    moved = place.rename(tmp_path / "elsewhere")
    assert Published(f"hf:{moved}", offline=True).identity() == first
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    assert Published(f"hf:{moved}", offline=True).identity() != first


@pytest.mark.parametrize("name", ["nobody/nothing", "gone"])
def test_what_is_not_there_is_named_with_the_flag_and_no_hub_is_asked(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr("huggingface_hub.utils._http.http_backoff", lambda *given, **options: asked.append(given))
    monkeypatch.setattr("huggingface_hub.file_download.get_hf_file_metadata", lambda *given, **options: asked.append(given))
    for ask in (Published.architecture, Published.identity, lambda p: p.load(3)):
        with pytest.raises(EnvironmentFault, match=rf"--backbone hf:{name} cannot be loaded .* as hf:FOLDER or hf:OWNER/NAME"):
            ask(Published(f"hf:{name}", offline=True))
    assert not asked


def test_pickled_weights_are_refused(place):
    (place / "model.safetensors").unlink()
    torch.save(vit().state_dict(), place / "pytorch_model.bin")
    with pytest.raises(EnvironmentFault, match="safetensors"):
        Published(f"hf:{place}", offline=True).load(3)


def test_weights_that_lack_a_tensor_are_refused(place):
    from safetensors.torch import load_file, save_file

    state = load_file(place / "model.safetensors")
    del state[next(name for name in state if "query" in name or "q_proj" in name)]
    save_file(state, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(EnvironmentFault, match=r"'vit.*' is missing from its weights"):
        Published(f"hf:{place}", offline=True).load(3)


def test_what_is_no_image_classifier_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="BertConfig"):
        from_architecture(Published(f"hf:{tmp_path}", offline=True).architecture(), 3, *IMAGENET)


def test_sizes_it_does_not_take_are_refused_before_anything_is_allocated(place):
    architecture = Published(f"hf:{place}", offline=True).architecture()
    with torch.device("meta"):
        model = from_architecture(architecture, 3, *IMAGENET)
        check_size("hf:x", model, 16)
        with pytest.raises(UsageError, match=r"--backbone hf:x takes no images of --image-px 32 \(Input image size"):
            check_size("hf:x", model, 32)


def test_logits_that_are_not_one_heads_are_refused():
    from transformers import DeiTConfig

    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "image_size": 16}
    config = DeiTConfig(**size, patch_size=8, architectures=["DeiTForImageClassificationWithTeacher"])
    with torch.device("meta"):
        model = from_architecture(config.to_dict(), 3, *IMAGENET)
    assert model.head_name == "distillation_classifier"
    with pytest.raises(UsageError, match="does not end in one linear layer"):
        check_size("hf:x", model, 16)


# --- hostile records --------------------------------------------------------------------------------------------
@pytest.fixture
def trained(place, tmp_path):
    published = Published(f"hf:{place}", offline=True)
    model, _ = published.load(3)
    save_classifier(tmp_path / "ce", model, facts_of(published, model, "hf:x"))
    return tmp_path / "ce"


def change(folder, **fields):
    record = json.loads((folder / "train.json").read_text())
    record["architecture"] |= fields
    (folder / "train.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"model_type": "bert"}, "'architecture' cannot be built"),
        ({"model_type": "nonesuch"}, "'architecture' cannot be built"),
        ({"model_type": 3}, "'architecture' is not"),
        ({"hidden_act": "nonesuch"}, "'architecture' cannot be built"),
        ({"hidden_size": "wide"}, "'architecture' cannot be built"),
        ({"hidden_size": 10**9}, "'architecture' is not"),
        ({"num_hidden_layers": 10**6}, "more parameters than"),
        ({"num_hidden_layers": 3}, "does not fit its backbone"),
        ({"hidden_size": 10**6}, "does not fit its backbone"),
    ],
    ids=str,
)
def test_an_architecture_that_is_not_the_weights_is_refused(trained, fields, said):
    change(trained, **fields)
    with pytest.raises(DataError, match=said):
        load_classifier(trained)


def test_an_architecture_names_no_code(trained):
    before = load_classifier(trained)[0]
    code = {"AutoModelForImageClassification": "someone/repo--evil.Model", "AutoConfig": "someone/repo--evil.Config"}
    change(trained, auto_map=code, _attn_implementation="someone/kernel", attn_implementation="someone/kernel")
    after = load_classifier(trained)[0]
    assert torch.equal(before(images() / 255), after(images() / 255))


@pytest.mark.parametrize("architecture", [None, {}, [], "vit"])
def test_a_published_backbone_needs_its_architecture(trained, architecture):
    record = json.loads((trained / "train.json").read_text()) | {"architecture": architecture}
    (trained / "train.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"train\.json: 'architecture' is not"):
        load_classifier(trained)
