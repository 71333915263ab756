"""ResNet for images of 32 pixels (arXiv 1512.03385): a 3x3 stem without pooling, four stages.

Sizes and torch's own initial weights as in kuangliu/pytorch-cifar, which AutoLR names. AdaTune's ResNet-18
has the same sizes, and initial = "xavier".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adatune_lite.tasks.networks.blocks import Images, convolution, scaled

CHANNELS = (64, 128, 256, 512)
"""Of the 3x3 convolutions of each stage; from the second on a stage halves the size of its images."""


def resnet18(
    classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "torch"
) -> nn.Sequential:
    """11,173,962 weights."""
    return _resnet(BasicBlock, (2, 2, 2, 2), classes, channels, width, initial)


def resnet34(
    classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "torch"
) -> nn.Sequential:
    """21,282,122 weights."""
    return _resnet(BasicBlock, (3, 4, 6, 3), classes, channels, width, initial)


def resnet50(
    classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "torch"
) -> nn.Sequential:
    """23,520,842 weights; the network for ImageNet is `resnet50_imagenet`."""
    return _resnet(Bottleneck, (3, 4, 6, 3), classes, channels, width, initial)


class Block(nn.Module):
    """relu(s(x) + f(x)), with s(x) = x or a 1x1 convolution with BatchNorm to a new shape."""

    growth: int
    """Outgoing channels over those of the 3x3 convolution."""

    def __init__(self, inner: int, channels: int, stride: int, initial: str) -> None:
        super().__init__()
        outer = channels * self.growth
        self.residual = self.make(inner, channels, stride, initial)
        self.shortcut = nn.Sequential()
        if stride != 1 or inner != outer:
            self.shortcut.extend(
                [convolution(inner, outer, 1, stride, initial=initial), nn.BatchNorm2d(outer)]
            )

    def make(self, inner: int, channels: int, stride: int, initial: str) -> nn.Sequential:
        """f."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


class BasicBlock(Block):
    """f is two 3x3 convolutions with BatchNorm."""

    growth = 1

    def make(self, inner: int, channels: int, stride: int, initial: str) -> nn.Sequential:
        return nn.Sequential(
            convolution(inner, channels, 3, stride, initial=initial),
            *(nn.BatchNorm2d(channels), nn.ReLU()),
            convolution(channels, channels, 3, initial=initial),
            nn.BatchNorm2d(channels),
        )


class Bottleneck(Block):
    """f is a 3x3 convolution between two 1x1 ones, all with BatchNorm; the stride is the 3x3 one's."""

    growth = 4

    def make(self, inner: int, channels: int, stride: int, initial: str) -> nn.Sequential:
        return nn.Sequential(
            convolution(inner, channels, 1, initial=initial),
            *(nn.BatchNorm2d(channels), nn.ReLU()),
            convolution(channels, channels, 3, stride, initial=initial),
            *(nn.BatchNorm2d(channels), nn.ReLU()),
            convolution(channels, 4 * channels, 1, initial=initial),
            nn.BatchNorm2d(4 * channels),
        )


def _resnet(
    kind: type[Block], stages: tuple[int, ...], classes: int, channels: int, width: float, initial: str
) -> nn.Sequential:
    """stages: blocks of each."""
    sizes = scaled(width, *CHANNELS)
    blocks: list[nn.Module] = []
    inner = sizes[0]
    for stage, (count, size) in enumerate(zip(stages, sizes, strict=True)):
        for place in range(count):
            blocks.append(kind(inner, size, 2 if stage and not place else 1, initial))
            inner = size * kind.growth
    return nn.Sequential(
        Images(channels, 32),
        *(convolution(channels, sizes[0], 3, initial=initial), nn.BatchNorm2d(sizes[0]), nn.ReLU()),
        *blocks,
        *(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(inner, classes)),
    )
