"""Wide residual networks for small images (Zagoruyko and Komodakis 2016, arXiv 1605.07146)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from dogfast.classifiers.classifier import Classifier

STEM_CHANNELS = 16


def parse_wrn(backbone: str) -> tuple[int, int] | None:
    """Depth and width of ``wrn-DEPTH-WIDTH``: "wrn-40-2" is (40, 2).

    None unless the depth is 6n + 4 from 10 to 994 and the width lies in 1 to 99.
    """
    match = re.fullmatch(r"wrn-([0-9]{1,3})-([0-9]{1,2})", backbone)
    depth, width = map(int, match.groups()) if match else (0, 0)
    return (depth, width) if depth >= 10 and depth % 6 == 4 and width >= 1 else None


class WideResNet(Classifier):
    """``depth`` is 6n + 4, ``width`` multiplies the channels (16, 32, 64), ``dropout`` in [0, 1) acts between the two
    convolutions of a block.
    """

    def __init__(
        self,
        depth: int,
        width: int,
        classes: int,
        dropout: float = 0.0,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ):
        super().__init__(mean, std)
        assert depth >= 10 and depth % 6 == 4 and width >= 1, (depth, width)
        blocks, channels = (depth - 4) // 6, [STEM_CHANNELS * width * k for k in (1, 2, 4)]
        self.stem = _conv3x3(3, STEM_CHANNELS)
        self.groups = nn.Sequential(
            _group(STEM_CHANNELS, channels[0], blocks, 1, dropout),
            _group(channels[0], channels[1], blocks, 2, dropout),
            _group(channels[1], channels[2], blocks, 2, dropout),
        )
        self.norm = nn.BatchNorm2d(channels[2])
        self.head = nn.Linear(channels[2], classes)
        self.apply(_initialise)

    def features(self, images: Tensor) -> Tensor:
        """Float images (n, 3, H, W) in [0, 1], H and W at least 8, to the non-negative input of the head (n, 64 * width)."""
        return F.relu(self.norm(self.groups(self.stem(self.normalise(images)))), inplace=True).mean((2, 3))


class Block(nn.Module):
    """Two pre-activated 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv3x3(inputs, outputs, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _conv3x3(outputs, outputs)
        reshapes = inputs != outputs or stride != 1
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if reshapes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x), inplace=True)
        hidden = F.relu(self.norm2(self.conv1(active)), inplace=True)
        kept = x if self.shortcut is None else self.shortcut(active)
        return kept + self.conv2(self.dropout(hidden))


def _group(inputs: int, outputs: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    first = Block(inputs, outputs, stride, dropout)
    return nn.Sequential(first, *[Block(outputs, outputs, 1, dropout) for _ in range(blocks - 1)])


def _conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
