"""The closures of a Hessian-vector product run with functions whose second derivative is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from adatune_lite.engine.batchnorm import batch_norm
from adatune_lite.engine.convolution import conv2d
from adatune_lite.engine.graph import HookMode

FAST: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.nn.functional.batch_norm: batch_norm,
    torch.conv2d: conv2d,
}
"""What takes the place of what."""


class FastSecondDerivatives(HookMode):
    """Inside the block torch's functions are those of `FAST`; values and gradients stay as they are."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return super().__torch_function__(FAST.get(func, func), types, args, kwargs)
