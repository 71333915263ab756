"""ResNet-50 for ImageNet, torchvision's."""

from __future__ import annotations

from torch import nn


def resnet50_imagenet(classes: int = 1000, channels: int = 3, width: float = 1.0) -> nn.Module:
    """torchvision's ResNet-50, any size from 32 pixels, not pretrained: 25,557,032 weights.

    Raises ValueError for other channels or widths.
    """
    from torchvision.models import resnet50

    if (channels, width) != (3, 1.0):
        raise ValueError(
            f"resnet50_imagenet has 3 channels and width 1, not {channels} channels and width {width}"
        )
    return resnet50(weights=None, num_classes=classes)
