"""Residual networks (He et al. 2016, arXiv 1512.03385) under torchvision's parameter names, so that its weights load.

As torchvision's (and unlike the paper's), ResNet-50 halves the side in the 3x3 convolution of a bottleneck. Images of up to
64 px meet a 3x3 stem and no max-pool, as in OpenOOD's networks for CIFAR; larger ones the 7x7 stem and a max-pool.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from dogfast.classifiers.classifier import Classifier
from dogfast.config.data import SMALL_PX

WIDTHS = (64, 128, 256, 512)


class ResNet(Classifier):
    """``kind`` is a name of :data:`LAYOUTS`; features are pooled behind a ReLU, 512 or (ResNet-50) 2048 of them."""

    def __init__(
        self,
        kind: str,
        classes: int,
        image_px: int,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ):
        super().__init__(mean, std)
        block, depths = LAYOUTS[kind]
        self.small = image_px <= SMALL_PX
        self.conv1 = _conv(3, WIDTHS[0], 3) if self.small else _conv(3, WIDTHS[0], 7, 2)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        inputs = WIDTHS[0]
        for number, (width, depth) in enumerate(zip(WIDTHS, depths), 1):
            stride = 1 if number == 1 else 2
            later = [block(width * block.expansion, width, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{number}", nn.Sequential(block(inputs, width, stride), *later))
            inputs = width * block.expansion
        self.fc = nn.Linear(inputs, classes)
        self.apply(_initialise)

    @property
    def head(self) -> nn.Linear:
        return self.fc

    def features(self, images: Tensor) -> Tensor:
        """Float images (n, 3, H, W) in [0, 1], H and W at least 8, to the non-negative input of the head (n, d)."""
        active = F.relu(self.bn1(self.conv1(self.normalise(images))), inplace=True)
        pooled = active if self.small else F.max_pool2d(active, 3, 2, padding=1)
        return self.layer4(self.layer3(self.layer2(self.layer1(pooled)))).mean((2, 3))


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(x)), inplace=True)
        kept = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(hidden)) + kept, inplace=True)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two of 1x1, beside a shortcut, which is a 1x1 convolution where the shape changes."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = _downsample(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(x)), inplace=True)
        hidden = F.relu(self.bn2(self.conv2(hidden)), inplace=True)
        kept = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn3(self.conv3(hidden)) + kept, inplace=True)


LAYOUTS: dict[str, tuple[type[Basic] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet-18": (Basic, (2, 2, 2, 2)),
    "resnet-34": (Basic, (3, 4, 6, 3)),
    "resnet-50": (Bottleneck, (3, 4, 6, 3)),
}


def _conv(inputs: int, outputs: int, side: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False)


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
