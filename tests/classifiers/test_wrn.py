"""WideResNet: sizes, shapes, the normalisation inside, and the names it is asked for by."""

import pytest
import torch

from dogfast.classifiers.wrn import WideResNet, parse_wrn


def test_wrn_40_2_has_the_size_of_the_reference_network():
    model = WideResNet(40, 2, classes=10, dropout=0.3)
    assert sum(p.numel() for p in model.parameters()) == 2_243_546
    assert model.head.in_features == 128


@pytest.mark.parametrize("backbone, expected", [("wrn-40-2", (40, 2)), ("wrn-10-1", (10, 1)), ("wrn-28-10", (28, 10))])
def test_backbones_are_parsed(backbone, expected):
    assert parse_wrn(backbone) == expected


@pytest.mark.parametrize(
    "backbone", ["wrn-40", "wrn-41-2", "wrn-4-2", "wrn-40-0", "resnet50", "", "wrn-40-2\n", "wrn-40-2-1", "wrn-9999994-1"]
)
def test_what_is_no_wrn(backbone):
    assert parse_wrn(backbone) is None


@pytest.mark.parametrize("side_px", [8, 9, 32])
def test_features_are_pooled_non_negative_and_feed_the_head(side_px):
    model = WideResNet(10, 1, classes=3).eval()
    images = torch.rand(2, 3, side_px, side_px)
    features = model.features(images)
    assert features.shape == (2, 64) and features.min() >= 0
    assert torch.equal(model(images), model.head(features))


def test_normalisation_happens_inside():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    inside = WideResNet(10, 1, 3, mean=mean, std=std).eval()
    outside = WideResNet(10, 1, 3).eval()
    outside.load_state_dict({k: v for k, v in inside.state_dict().items() if k not in ("mean", "std")}, strict=False)
    images = torch.rand(2, 3, 8, 8)
    normalised = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(inside(images), outside(normalised))


def test_a_group_halves_the_side_but_the_first_does_not():
    model = WideResNet(10, 1, 3).eval()
    sides, x = [], model.stem(torch.rand(1, 3, 16, 16))
    for group in model.groups:
        x = group(x)
        sides.append(tuple(x.shape[1:]))
    assert sides == [(16, 16, 16), (32, 8, 8), (64, 4, 4)]


def test_dropout_acts_in_training_only():
    model, images = WideResNet(10, 1, 3, dropout=0.5), torch.rand(4, 3, 8, 8)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_channels_last_and_bf16_agree_with_plain_fp32():
    model, images = WideResNet(10, 1, 3).eval(), torch.rand(4, 3, 16, 16)
    plain = model(images)
    model.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = model(images.contiguous(memory_format=torch.channels_last)).float()
    torch.testing.assert_close(fast, plain, atol=0.05, rtol=0.05)
