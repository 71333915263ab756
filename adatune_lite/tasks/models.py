"""The table of networks, built by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from adatune_lite.tasks.initial import drawn
from adatune_lite.tasks.mlp import mlp, mlp_bn
from adatune_lite.tasks.networks import conv4, lenet5, resnet18, resnet50, vgg11

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "mlp_bn": mlp_bn,
    "conv4": conv4,
    "lenet5": lenet5,
    "vgg11": vgg11,
    "resnet18": resnet18,
    "resnet50": resnet50,
}


def build(name: str, *, seed: int | None = None, **options: Any) -> nn.Module:
    """A network by name, `options` as its function takes them: classes, channels and width for images.

    seed: draws the initial weights from this seed and leaves the global random state alone; without it the
    global state is used. Raises ValueError for a name that does not exist.
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, not {name!r}")
    make = partial(MODELS[name], **options)
    return make() if seed is None else drawn(make, seed)


def decides(name: str) -> tuple[str, ...]:
    """Modules of the package, by path, that decide the network of that name."""
    return (MODELS[name].__module__.partition(".")[2].replace(".", "/") + ".py",)
