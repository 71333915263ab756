"""Convolutional networks for small images, with the sizes of the papers' implementations.

Each takes [batch, channels, height, width], or [batch, features] of square images; smaller images are padded
with zeros to the network's size. width scales the number of channels (at least 1 each; 1.0 is the original).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn


class Images(nn.Module):
    """[batch, channels, size, size] from images of at most that size, flat or not, padded evenly with zeros.

    Raises ValueError for images of other channels, not square where flat, or larger.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.channels, self.size = channels, size

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            side = math.isqrt(x.shape[1] // self.channels)
            x = x.unflatten(1, (self.channels, side, side)) if self.channels * side**2 == x.shape[1] else x
        if x.dim() != 4 or x.shape[1] != self.channels or max(x.shape[2:]) > self.size:
            raise ValueError(
                f"this network takes images of {self.channels} channels, at most {self.size} pixels a side, "
                f"not a batch of shape {tuple(x.shape)}: build it with other channels"
            )
        rows, columns = (self.size - side for side in x.shape[2:])
        left, top = columns // 2, rows // 2
        return nn.functional.pad(x, (left, columns - left, top, rows - top)) if rows or columns else x


def _scaled(channels: int, width: float) -> int:
    if not 0 < width < math.inf:
        raise ValueError(f"width must be finite and above 0, not {width}")
    return max(1, round(channels * width))


def lenet5(classes: int = 10, channels: int = 1, width: float = 1.0) -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) with ReLU and maximum pooling, for images of 32 pixels: 61,706 weights."""
    first, second, third, fourth = (_scaled(n, width) for n in (6, 16, 120, 84))
    return nn.Sequential(
        Images(channels, 32),
        *(nn.Conv2d(channels, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(25 * second, third), nn.ReLU(), nn.Linear(third, fourth), nn.ReLU()),
        nn.Linear(fourth, classes),
    )


def conv4(classes: int = 10, channels: int = 1, width: float = 1.0) -> nn.Sequential:
    """AutoLR's 4-layer network for MNIST and Fashion-MNIST, images of 28 pixels: 431,080 weights.

    Two convolutions and two dense layers, of pytorch/examples as they were when the paper was submitted in
    September 2019: 20 and 50 channels, 500 units, no dropout (older and newer versions have other sizes).
    """
    first, second, hidden = (_scaled(n, width) for n in (20, 50, 500))
    return nn.Sequential(
        Images(channels, 28),
        *(nn.Conv2d(channels, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(16 * second, hidden), nn.ReLU(), nn.Linear(hidden, classes)),
    )


def vgg11(classes: int = 10, channels: int = 3, width: float = 1.0) -> nn.Sequential:
    """VGG-11 with BatchNorm and one dense layer 512 -> classes, for 32 pixels: 9,231,114 weights.

    As AdaTune has it: convolutions with bias, their weights Xavier uniform with gain sqrt(2).
    """
    layers: list[nn.Module] = [Images(channels, 32)]
    inner = channels
    for outer, pooled in _VGG11:
        size = _scaled(outer, width)
        convolution = nn.Conv2d(inner, size, 3, padding=1)
        nn.init.xavier_uniform_(convolution.weight, math.sqrt(2))
        layers += [convolution, nn.BatchNorm2d(size), nn.ReLU()]
        if pooled:
            layers.append(nn.MaxPool2d(2))
        inner = size
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inner, classes))


_VGG11 = (
    *((64, True), (128, True)),
    *((256, False), (256, True), (512, False), (512, True), (512, False), (512, True)),
)
"""(channels, whether pooled after it) of each convolution."""


class BasicBlock(nn.Module):
    """relu(s(x) + f(x)), f two 3x3 convolutions with BatchNorm, s(x) = x or a 1x1 one to a new shape."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *(nn.Conv2d(inner, outer, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()),
            *(nn.Conv2d(outer, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer)),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inner != outer:
            self.shortcut.extend([nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.residual(x) + self.shortcut(x))


def resnet18(classes: int = 10, channels: int = 3, width: float = 1.0) -> nn.Sequential:
    """ResNet-18 for CIFAR (arXiv 1512.03385; a 3x3 stem without pooling, 32 pixels): 11,173,962 weights.

    Sizes and PyTorch's default initialisation as in kuangliu/pytorch-cifar, which AutoLR names.
    """
    sizes = [_scaled(n, width) for n in (64, 64, 128, 256, 512)]
    blocks: list[nn.Module] = []
    for stage, (inner, outer) in enumerate(pairwise(sizes)):
        blocks += [BasicBlock(inner, outer, 2 if stage else 1), BasicBlock(outer, outer, 1)]
    return nn.Sequential(
        Images(channels, 32),
        *(nn.Conv2d(channels, sizes[0], 3, padding=1, bias=False), nn.BatchNorm2d(sizes[0]), nn.ReLU()),
        *blocks,
        *(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(sizes[-1], classes)),
    )


def resnet50(classes: int = 1000, channels: int = 3, width: float = 1.0) -> nn.Module:
    """torchvision's ResNet-50 for ImageNet, any size from 32 pixels, not pretrained: 25,557,032 weights."""
    from torchvision.models import resnet50 as original

    if (channels, width) != (3, 1.0):
        raise ValueError(f"resnet50 has 3 channels and width 1, not {channels} channels and width {width}")
    return original(weights=None, num_classes=classes)
