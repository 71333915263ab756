"""A world of one weight in which every decision of AutoLR can be reached by a loss made for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import adatune_lite as al
from adatune_lite.tuners.autolr.log import Decision

Loss = Callable[[float], float]
START = 0.1
"""Rate of `Line` at the start."""


class Line:
    """One weight that a step moves by -lr, and a superbatch loss that is any function of (k, weight).

    After n steps at the seed rate the weight is -n / 10, and L(eps) of step n is loss(k)(-n / 10 - eps).
    """

    def __init__(self, losses: dict[int, Loss], kind: type[al.AutoLR] = al.AutoLR, **options: Any) -> None:
        self.w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.w], lr=START)
        self.tuner = kind(self.optimizer, **{"explore_steps": 1, "window": 1, **options})
        self.losses = losses
        self.calls: list[int] = []

    def outer(self, k: int) -> Tensor:
        self.calls.append(k)
        return torch.tensor(self.losses[k](float(self.w.detach())), dtype=torch.float64)

    def step(self) -> Decision:
        self.tuner.step(self.w.sum, self.outer)
        return self.tuner.log[-1]


def stairs(*values: float, slope: float = 1.0) -> Loss:
    """values[n] after n steps at the seed rate; rises with eps, so that explore keeps the rate."""

    def loss(w: float) -> float:
        n = round(-10 * w)
        return values[n] - slope * (w + n / 10)

    return loss


def bowl(bottom: float, height: float = 2.0) -> Loss:
    return lambda w: height + (w - bottom) ** 2


def saturating(*later: float, kind: type[al.AutoLR] = al.AutoLR, **options: Any) -> Line:
    """After two steps held 0 has saturated, and the fit on superbatch 1 lowers the rate to 0.08.

    later: the losses on superbatch 1 at the ends of the windows that follow.
    """
    ends = iter(later)
    fit = bowl(-0.18)
    return Line(
        {0: stairs(4, 3, 2.99), 1: lambda w: fit(w) if w > -0.225 else next(ends)},
        kind,
        saturation=50,
        epsilon_threshold=None,
        **options,
    )
