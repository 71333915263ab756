"""Networks, built by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import nn

from adatune_lite.tasks.networks import (
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

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def mlp(
    classes: int = 10,
    features: int = 784,
    hidden: Sequence[int] = (500, 500),
    activation: str = "relu",
    batchnorm: bool = False,
) -> nn.Sequential:
    """Fully connected network with PyTorch's default initialisation; input [batch, features].

    The MNIST network of MARTHE (arXiv 1910.08525) with hidden = (500, 500): 648,010 weights. With batchnorm
    each hidden layer is normalised before its activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    widths = [features, *hidden]
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        normal = [nn.BatchNorm1d(outer)] if batchnorm else []
        layers += [nn.Linear(inner, outer), *normal, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


MODELS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "mlp_bn": partial(mlp, batchnorm=True),
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


def build(name: str, *, seed: int | None = None, **options: object) -> nn.Module:
    """A network by name, `options` as its function takes them: classes, channels and width for images.

    seed: draws the initial weights from this seed and leaves the global random state alone; without it the
    global state is used. Raises ValueError for a name that does not exist, of a network or an option.
    """
    if name not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, not {name!r}")
    known = options_of(name)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    if seed is None:
        return MODELS[name](**options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name](**options)


def options_of(name: str) -> list[str]:
    """What the network of that name can be built with."""
    return list(inspect.signature(MODELS[name]).parameters)
