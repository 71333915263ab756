"""What the networks share: images as they take them, numbers of channels, convolutions and their start."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn

from adatune_lite.checks import is_number, one_of, shown

INITIAL: Mapping[str, Callable[[Tensor], object]] = MappingProxyType(
    {
        "torch": lambda weight: None,
        "xavier": lambda weight: nn.init.xavier_uniform_(weight, math.sqrt(2)),
        "he": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu"),
    }
)
"""How the weights of a convolution begin: as torch has them; Xavier uniform with gain sqrt(2), as AdaTune has
them in all its networks; He normal by the outgoing connections (arXiv 1502.01852)."""


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
                f"not a batch of shape {tuple(x.shape)}: build another one for them"
            )
        rows, columns = (self.size - side for side in x.shape[2:])
        left, top = columns // 2, rows // 2
        return nn.functional.pad(x, (left, columns - left, top, rows - top)) if rows or columns else x


class Pointwise(nn.Conv2d):
    """A 1x1 convolution that takes every stride-th pixel first.

    The same convolution, and safe in channels_last: oneDNN writes past its workspace where a strided 1x1 one
    has fewer channels than a vector register holds (uxlfoundation/oneDNN issue 6035).
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.stride
        return nn.functional.conv2d(x[..., ::rows, ::columns], self.weight, self.bias)


def scaled(width: float, *channels: int) -> list[int]:
    """Numbers of channels times width, rounded.

    Raises ValueError for a width that is not finite and above 0, or gives a layer no channel.
    """
    if not (is_number(width) and 0 < width < math.inf):
        raise ValueError(f"width must be finite and above 0, not {shown(width)}")
    found = [round(n * width) for n in channels]
    if 0 in found:
        fewest = min(channels)
        raise ValueError(
            f"width {width:g} leaves a layer of {fewest} without channels: give at least {1 / fewest:.3g}"
        )
    return found


def convolution(
    inner: int,
    outer: int,
    kernel: int,
    stride: int = 1,
    *,
    bias: bool = False,
    initial: str = "torch",
) -> nn.Conv2d:
    """A convolution that keeps the size of images but for its stride; kernel is odd.

    Raises ValueError for an `initial` that does not exist.
    """
    one_of("initial", initial, INITIAL)
    kind = Pointwise if kernel == 1 else nn.Conv2d
    made = kind(inner, outer, kernel, stride, padding=kernel // 2, bias=bias)
    INITIAL[initial](made.weight)
    return made
