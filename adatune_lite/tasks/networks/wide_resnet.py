"""Wide ResNet for images of 32 pixels (arXiv 1605.07146)."""

from __future__ import annotations

from torch import Tensor, nn

from adatune_lite.tasks.networks.blocks import Images, convolution, scaled

CHANNELS = (16, 160, 320, 640)
"""Of the stem and of each stage."""
BLOCKS = 4
"""Of a stage: 28 layers."""


def wide_resnet(
    classes: int = 10, channels: int = 3, width: float = 1.0, initial: str = "he"
) -> nn.Sequential:
    """WRN-28-10 without dropout, 36,479,194 weights; they begin as in szagoruyko/wide-residual-networks."""
    inner, *sizes = scaled(width, *CHANNELS)
    layers: list[nn.Module] = [Images(channels, 32), convolution(channels, inner, 3, initial=initial)]
    for stage, size in enumerate(sizes):
        for place in range(BLOCKS):
            layers.append(WideBlock(inner, size, 2 if stage and not place else 1, initial))
            inner = size
    head = nn.Linear(inner, classes)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, nn.BatchNorm2d(inner), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), head)


class WideBlock(nn.Module):
    """x + f(a), a = relu(BatchNorm(x)), f two 3x3 convolutions; to a new shape s(a) + f(a), s a 1x1 one."""

    def __init__(self, inner: int, outer: int, stride: int, initial: str) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU())
        self.residual = nn.Sequential(
            convolution(inner, outer, 3, stride, initial=initial),
            *(nn.BatchNorm2d(outer), nn.ReLU()),
            convolution(outer, outer, 3, initial=initial),
        )
        moves = stride != 1 or inner != outer
        self.shortcut = convolution(inner, outer, 1, stride, initial=initial) if moves else None

    def forward(self, x: Tensor) -> Tensor:
        active: Tensor = self.before(x)
        found: Tensor = self.residual(active)
        return found + (self.shortcut(active) if self.shortcut else x)
