"""The table of networks, built by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from adatune_lite.checks import one_of, shown, truth, whole
from adatune_lite.tasks.initial import drawn
from adatune_lite.tasks.mlp import mlp, mlp_bn
from adatune_lite.tasks.networks import (
    blocks,
    conv4,
    densenet_bc,
    lenet5,
    resnet18,
    resnet34,
    resnet50,
    resnet50_imagenet,
    vgg11,
    vgg13,
    vgg16,
    vgg19,
    wide_resnet,
)

MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "mlp_bn": mlp_bn,
    "conv4": conv4,
    "lenet5": lenet5,
    "vgg11": vgg11,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet50_imagenet": resnet50_imagenet,
    "wide_resnet": wide_resnet,
    "densenet_bc": densenet_bc,
}


def build(name: str, *, seed: int | None = None, **options: Any) -> nn.Module:
    """A network by name, `options` as its function takes them: classes, channels and width for images.

    seed: draws the initial weights from this seed and leaves the global random state alone; without it the
    global state is used. Raises ValueError for a name that does not exist, of a network or an option.
    """
    one_of("model", name, MODELS)
    known = options_of(name)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    _check(options)
    if seed is not None:
        whole("seed", seed, 0)
    make = partial(MODELS[name], **options)
    return make() if seed is None else drawn(make, seed)


def _check(options: Mapping[str, Any]) -> None:
    """Raises ValueError for options of another type than networks have; names and widths they check."""
    for option, value in options.items():
        if option in ("classes", "channels", "features"):
            whole(option, value, 1)
        elif option == "hidden":
            if not isinstance(value, list | tuple):
                raise ValueError(f"hidden must be a list of the layers' units, not {shown(value)}")
            for units in value:
                whole("a number of hidden", units, 1)
        elif option == "batchnorm":
            truth(option, value)


def options_of(name: str) -> dict[str, Any]:
    """What the network of that name can be built with, and the defaults."""
    return {option: found.default for option, found in inspect.signature(MODELS[name]).parameters.items()}


def described(name: str) -> tuple[str, str]:
    """Number of weights with the options' defaults, and the options, as text."""
    options = ", ".join(options_of(name))
    try:
        with torch.device("meta"):
            net = build(name)
    except ImportError:
        return "needs torchvision", options
    return f"{sum(w.numel() for w in net.parameters()):,}", options


def decides(name: str) -> tuple[str, ...]:
    """Modules of the package, by path, that decide the network of that name."""
    own = MODELS[name].__module__
    shared = [blocks.__name__] if own.startswith(f"{__package__}.networks.") else []
    return tuple(f"{m.partition('.')[2].replace('.', '/')}.py" for m in (own, *shared))
