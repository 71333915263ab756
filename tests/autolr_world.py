"""A small network with BatchNorm and dropout in training under AutoLR, and what a rollback must put back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import adatune_lite as al
from adatune_lite.tuners import Tuner

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda w: torch.optim.Adam(w, lr=0.02),
}
optimizers = pytest.mark.parametrize("optimizer", OPTIMIZERS)


class World:
    """A float32 network with BatchNorm and dropout, batches by step, superbatches by index."""

    def __init__(self, optimizer: str, make: Callable[[torch.optim.Optimizer], Tuner]) -> None:
        generator = torch.Generator().manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.25), nn.Linear(6, 1)
        )
        with torch.no_grad():
            for p in self.net.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        self.x = torch.randn(40, 8, 3, generator=generator)
        self.optimizer = OPTIMIZERS[optimizer](self.net.parameters())
        self.tuner: Any = make(self.optimizer)
        self.t = 0
        torch.manual_seed(11)

    def loss(self, x: Tensor) -> Tensor:
        return (self.net(x) - x.square().sum(1, keepdim=True)).square().mean()

    def outer(self, k: int) -> Tensor:
        return self.loss(self.x[20 + k % 20])

    def step(self, outer: Callable[[int], Tensor] | None = None) -> None:
        x = self.x[self.t % 20]
        self.tuner.step(lambda: self.loss(x), outer or self.outer)
        self.t += 1

    def training(self) -> dict[str, Any]:
        """All that a rollback must put back."""
        parts = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()["state"]}
        return copy.deepcopy({**parts, "random": torch.get_rng_state(), "lr": self.tuner.lr})


def same(a: Any, b: Any) -> bool:
    """To the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else str(a) == str(b)


def plain(optimizer: str) -> World:
    """The same training at the seed rate, with nothing around it."""
    return World(optimizer, lambda o: al.FixedSchedule(o, [o.param_groups[0]["lr"]] * 40))


def scripted(world: World, losses: Iterator[float]) -> Callable[[int], Tensor]:
    """The given losses, from passes through the network that would move BatchNorm and draw dropout."""
    return lambda k: world.outer(k) * 0 + next(losses)
