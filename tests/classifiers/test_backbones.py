"""Networks by name."""

import pytest
import torch

from dogfast.classifiers.backbones import build, is_backbone
from dogfast.errors import UsageError


@pytest.mark.parametrize("backbone", ["wrn-40-2", "resnet-18", "resnet-34", "resnet-50", "hf:google/vit-base-patch16-224"])
def test_known_names(backbone):
    assert is_backbone(backbone)


@pytest.mark.parametrize("backbone", ["wrn-41-2", "resnet50", "resnet-101", "hf:", "vit", "", "resnet-18\n"])
def test_unknown_names_are_refused_with_the_known_ones(backbone):
    assert not is_backbone(backbone)
    with pytest.raises(UsageError, match=r"--backbone.*6n \+ 4.*resnet-18, resnet-34, resnet-50, or hf:NAME"):
        build(backbone, ["a"], (0, 0, 0), (1, 1, 1))


def test_sizes_dropout_and_normalisation_reach_the_network():
    with torch.device("meta"):
        wide = build("wrn-16-2", ["a", "b"], (0, 0, 0), (1, 1, 1), 0.3)
        assert wide.groups[0][0].dropout.p == 0.3 and wide.head.in_features == 128
        assert build("resnet-34", ["a"], (0, 0, 0), (1, 1, 1), image_px=65).conv1.kernel_size == (7, 7)
    assert build("wrn-10-1", ["a"], (0.5, 0, 0), (1, 1, 2)).std.tolist() == [1, 1, 2]
