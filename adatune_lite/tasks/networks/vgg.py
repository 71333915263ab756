"""VGG with BatchNorm and one dense layer, for images of 32 pixels (arXiv 1409.1556).

As AdaTune and kuangliu/pytorch-cifar have it: convolutions with bias, their weights as AdaTune's begin.
"""

from __future__ import annotations

from torch import nn

from adatune_lite.tasks.networks.blocks import Images, convolution, scaled

CHANNELS = (64, 128, 256, 512, 512)
"""Of each stage; it ends with maximum pooling."""


def vgg11(classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "xavier") -> nn.Sequential:
    """9,231,114 weights."""
    return _vgg((1, 1, 2, 2, 2), classes, channels, width, initial)


def vgg13(classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "xavier") -> nn.Sequential:
    """9,416,010 weights."""
    return _vgg((2, 2, 2, 2, 2), classes, channels, width, initial)


def vgg16(classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "xavier") -> nn.Sequential:
    """14,728,266 weights."""
    return _vgg((2, 2, 3, 3, 3), classes, channels, width, initial)


def vgg19(classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "xavier") -> nn.Sequential:
    """20,040,522 weights."""
    return _vgg((2, 2, 4, 4, 4), classes, channels, width, initial)


def _vgg(stages: tuple[int, ...], classes: int, channels: int, width: float, initial: str) -> nn.Sequential:
    """stages: convolutions of each."""
    layers: list[nn.Module] = [Images(channels, 32)]
    inner = channels
    for count, outer in zip(stages, scaled(width, *CHANNELS), strict=True):
        for _ in range(count):
            layers += [
                convolution(inner, outer, 3, bias=True, initial=initial),
                nn.BatchNorm2d(outer),
                nn.ReLU(),
            ]
            inner = outer
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inner, classes))
