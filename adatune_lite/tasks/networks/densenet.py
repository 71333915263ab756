"""DenseNet-BC for images of 32 pixels (arXiv 1608.06993)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adatune_lite.tasks.networks.blocks import Images, convolution, scaled

GROWTH = 12
LAYERS = 16
"""Of each of the three blocks: 100 layers with the convolutions between and around them."""


def densenet_bc(
    classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "he"
) -> nn.Sequential:
    """DenseNet-BC-100-12 without dropout, 769,162 weights; they begin as in liuzhuang13/DenseNet."""
    growth, inner = scaled(width, GROWTH, 2 * GROWTH)
    layers: list[nn.Module] = [Images(channels, 32), convolution(channels, inner, 3, initial=initial)]
    for block in range(3):
        if block:
            layers += [*_narrowed(inner, inner // 2, 1, initial), nn.AvgPool2d(2)]
            inner //= 2
        for _ in range(LAYERS):
            layers.append(DenseLayer(inner, growth, initial))
            inner += growth
    head = nn.Linear(inner, classes)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, nn.BatchNorm2d(inner), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), head)


class DenseLayer(nn.Module):
    """x with f(x) behind its channels, f a 1x1 convolution to 4 growth channels and a 3x3 one to growth."""

    def __init__(self, inner: int, growth: int, initial: str) -> None:
        super().__init__()
        self.more = nn.Sequential(
            *_narrowed(inner, 4 * growth, 1, initial), *_narrowed(4 * growth, growth, 3, initial)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.more(x)], dim=1)


def _narrowed(inner: int, outer: int, kernel: int, initial: str) -> list[nn.Module]:
    return [nn.BatchNorm2d(inner), nn.ReLU(), convolution(inner, outer, kernel, initial=initial)]
