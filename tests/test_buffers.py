"""Buffers that a hook or a copy in place would miss: assigned anew, or used without their module."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

import adatune_lite as al

MAKE: dict[str, Callable[..., Any]] = {
    "marthe": lambda o, **k: al.MARTHE(o, 0.9, 0.0, **k),
    "hd": lambda o, **k: al.HD(o, 0.0, **k),
    "rtho": lambda o, **k: al.RTHO(o, 0.0, **k),
    "capturable": lambda o, **k: al.MARTHE(o, 0.9, 0.0, capturable=True, **k),
}
kinds = pytest.mark.parametrize("kind", MAKE)


class Mean(nn.Module):
    """Takes away a running mean, which it assigns anew; `first` is None until it has run."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(4, dtype=torch.float64))
        self.register_buffer("first", None)

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0).detach()
        self.first = x[0].detach() if self.first is None else self.first
        return x - self.mean


class World:
    """A network with that module and BatchNorm; `loss` by its modules, or by functions and direct calls."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(3, 4), Mean(), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1)
        ).double()
        self.x = torch.randn(6, 3, dtype=torch.float64)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.05)

    def loss(self, shift: float = 0.0) -> Tensor:
        return self.net(self.x + shift).square().mean()

    def unseen(self, shift: float = 0.0) -> Tensor:
        first, mean, norm, act, last = self.net
        x = mean.forward(first(self.x + shift))
        x = batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, training=True)
        return last(act(x)).square().mean()

    def buffers(self) -> str:
        return str([(name, b.tolist()) for name, b in self.net.named_buffers()])


@kinds
@pytest.mark.parametrize("unseen", [False, True])
def test_buffers_move_by_the_training_loss_alone(kind: str, unseen: bool) -> None:
    """Not by the outer loss, nor by a training loss that is not finite, at the first step and later."""
    world, plain = World(), World()
    tuner = MAKE[kind](world.optimizer, **({"model": world.net} if unseen else {}))
    for bad in (kind != "capturable", False, False, True, False):  # its first step is an ordinary one
        loss, twin = (w.unseen if unseen else w.loss for w in (world, plain))
        factor = math.nan if bad else 1.0
        tuner.step(lambda loss=loss, x=factor: loss() * x, lambda loss=loss: loss(100.0))
        if not bad:
            plain.optimizer.zero_grad()
            twin().backward()
            plain.optimizer.step()
        assert world.buffers() == plain.buffers()


def test_a_refused_first_step_puts_back_what_was_assigned() -> None:
    world = World()
    before = world.buffers(), world.net[1].mean
    with pytest.raises(al.LossError, match="outer_loss must return a scalar"):
        al.MARTHE(world.optimizer).step(world.loss, lambda: world.net(world.x))
    assert (world.buffers(), world.net[1].mean) == before and world.net[1].first is None


def test_partial_products_leave_unseen_buffers_alone() -> None:
    world, plain = World(), World()
    tuners = [al.MARTHE(w.optimizer, 0.9, 0.0, model=w.net) for w in (world, plain)]
    for _ in range(3):
        tuners[0].step(al.PartialProduct(world.unseen, lambda: world.unseen(9.0), 0.5), world.unseen)
        tuners[1].step(plain.unseen, plain.unseen)
        assert world.buffers() == plain.buffers()


def test_a_search_of_hyper_lr_leaves_unseen_buffers_alone() -> None:
    world = World()
    before = world.buffers()
    tuner = al.MARTHE(world.optimizer, model=world.net)
    al.find_hyper_lr(
        tuner, lambda t: world.unseen(), lambda t: world.unseen(1.0), world.unseen, total_steps=100, steps=3
    )
    assert world.buffers() == before


@pytest.mark.parametrize("model", ["net", lambda: None])
def test_a_model_that_is_none_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match=r"model must be the network, a torch\.nn\.Module"):
        al.MARTHE(World().optimizer, model=model)
