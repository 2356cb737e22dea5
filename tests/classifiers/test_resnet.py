"""ResNet: torchvision's names and sizes, an independent implementation's answers, the stem by image size."""

import pytest
import torch

from dogfast.classifiers.resnet import ResNet


@pytest.mark.parametrize(
    "kind, parameters, tensors, width",
    [("resnet-18", 11_689_512, 122, 512), ("resnet-34", 21_797_672, 218, 512), ("resnet-50", 25_557_032, 320, 2048)],
)
def test_sizes_are_torchvisions(kind, parameters, tensors, width):
    with torch.device("meta"):
        model = ResNet(kind, 1000, 224)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict().keys() - {"mean", "std"}) == tensors
    assert (model.head.in_features, model.head.out_features) == (width, 1000)


@pytest.mark.parametrize(
    "kind, name, shape",
    [
        ("resnet-18", "conv1.weight", (64, 3, 7, 7)),
        ("resnet-18", "layer1.0.conv1.weight", (64, 64, 3, 3)),
        ("resnet-18", "layer2.0.downsample.0.weight", (128, 64, 1, 1)),
        ("resnet-18", "layer4.1.bn2.running_var", (512,)),
        ("resnet-50", "layer1.0.downsample.1.bias", (256,)),
        ("resnet-50", "layer3.5.conv3.weight", (1024, 256, 1, 1)),
        ("resnet-50", "fc.weight", (1000, 2048)),
    ],
)
def test_names_are_torchvisions(kind, name, shape):
    with torch.device("meta"):
        assert ResNet(kind, 1000, 224).state_dict()[name].shape == shape


def as_transformers_names(name):
    """transformers' name of a tensor of ours; its ResNet was checked by its authors against torchvision's weights."""
    if name.startswith("fc."):
        return f"classifier.1.{name[3:]}"
    module, _, leaf = name.rpartition(".")
    if module in ("conv1", "bn1"):
        return f"resnet.embedder.embedder.{'convolution' if module == 'conv1' else 'normalization'}.{leaf}"
    stage, block, part, *rest = module.split(".")
    place = f"resnet.encoder.stages.{int(stage[5:]) - 1}.layers.{block}"
    if part == "downsample":
        return f"{place}.shortcut.{('convolution', 'normalization')[int(rest[0])]}.{leaf}"
    return f"{place}.layer.{int(part[-1]) - 1}.{'convolution' if part.startswith('conv') else 'normalization'}.{leaf}"


@pytest.mark.parametrize("kind, layer", [("resnet-18", "basic"), ("resnet-50", "bottleneck")])
def test_logits_are_those_of_transformers(kind, layer):
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    ours, wide = ResNet(kind, 5, 72), 4 if layer == "bottleneck" else 1
    depths = [len(getattr(ours, f"layer{n}")) for n in range(1, 5)]
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.weight, 0.2, 0.6)
    config = ResNetConfig(layer_type=layer, depths=depths, hidden_sizes=[wide * w for w in (64, 128, 256, 512)], num_labels=5)
    with torch.device("meta"):
        theirs = ResNetForImageClassification(config)
    state = {as_transformers_names(name): t for name, t in ours.state_dict().items() if name not in ("mean", "std")}
    theirs.load_state_dict(state, assign=True)
    images = torch.rand(1, 3, 72, 72)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images).logits, rtol=1e-4, atol=1e-4)


def test_the_stem_goes_by_the_size_of_images():
    with torch.device("meta"):
        small, large = ResNet("resnet-18", 3, 64), ResNet("resnet-18", 3, 65)
    assert small.conv1.weight.shape == (64, 3, 3, 3) and large.conv1.weight.shape == (64, 3, 7, 7)
    sides = []
    for model, side in ((small, 64), (large, 224)):
        model.layer1.register_forward_pre_hook(lambda module, inputs: sides.append(inputs[0].shape[2]))
        model.features(torch.empty(2, 3, side, side, device="meta"))
    assert sides == [64, 56]


@pytest.mark.parametrize("side_px", [8, 9])
def test_features_are_pooled_non_negative_and_feed_the_head(side_px):
    model, images = ResNet("resnet-18", 3, side_px).eval(), torch.rand(2, 3, side_px, side_px)
    with torch.no_grad():
        features = model.features(images)
        assert features.shape == (2, 512) and features.min() >= 0
        assert torch.equal(model(images), model.fc(features))


def test_normalisation_happens_inside():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    inside, outside = ResNet("resnet-18", 3, 8, mean, std).eval(), ResNet("resnet-18", 3, 8).eval()
    outside.load_state_dict({k: v for k, v in inside.state_dict().items() if k not in ("mean", "std")}, strict=False)
    images = torch.rand(2, 3, 8, 8)
    normalised = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(inside(images), outside(normalised))
