"""AutoLR's 4-layer network."""

from __future__ import annotations

from torch import nn

from adatune_lite.tasks.networks.blocks import Images, scaled


def conv4(classes: int = 10, channels: int = 1, width: float = 1.0) -> nn.Sequential:
    """AutoLR's 4-layer network for MNIST and Fashion-MNIST, images of 28 pixels: 431,080 weights.

    Two convolutions and two dense layers, of pytorch/examples as they were when the paper was submitted in
    September 2019: 20 and 50 channels, 500 units, no dropout (older and newer versions have other sizes).
    """
    first, second, hidden = scaled(width, 20, 50, 500)
    return nn.Sequential(
        Images(channels, 28),
        *(nn.Conv2d(channels, first, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 5), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
        *(nn.Linear(16 * second, hidden), nn.ReLU(), nn.Linear(hidden, classes)),
    )
