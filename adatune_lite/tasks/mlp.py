"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import nn

from adatune_lite.checks import one_of

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
    one_of("activation", activation, ACTIVATIONS)
    widths = [features, *hidden]
    layers: list[nn.Module] = []
    for inner, outer in pairwise(widths):
        normal = [nn.BatchNorm1d(outer)] if batchnorm else []
        layers += [nn.Linear(inner, outer), *normal, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def mlp_bn(
    classes: int = 10, features: int = 784, hidden: Sequence[int] = (500, 500), activation: str = "relu"
) -> nn.Sequential:
    """An `mlp` with batchnorm."""
    return mlp(classes, features, hidden, activation, batchnorm=True)
