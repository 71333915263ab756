"""LeNet-5."""

from __future__ import annotations

from torch import nn

from adatune_lite.tasks.networks.blocks import Images, scaled


def lenet5(classes: int = 10, channels: int = 1, width: float = 1.0) -> nn.Sequential:
    """LeNet-5 (LeCun et al. 1998) with ReLU and maximum pooling, for images of 32 pixels: 61,706 weights."""
    first, second, third, fourth = scaled(width, 6, 16, 120, 84)
    return nn.Sequential(
        Images(channels, 32),
        *(nn.Conv2d(channels, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(25 * second, third), nn.ReLU(), nn.Linear(third, fourth), nn.ReLU()),
        nn.Linear(fourth, classes),
    )
