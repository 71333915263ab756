"""Closures are checked at the first step, whatever `every` is, and again after a state was loaded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from test_curvature import Once
from test_tuner_contract import BROKEN, OPTIMIZERS, TUNERS, World, same
from torch import nn

import adatune_lite as al

ONCE = "once differentiable"
LOSSES = {**BROKEN, ONCE: (lambda world: Once.apply(world.net(world.x)).mean(), "no second derivative")}
TAKE_PRODUCTS = ("marthe", "rtho", "many")


class Every3(World):
    """RTHO whose rate moves, and whose outer loss is due, at every third step."""

    def __init__(self) -> None:
        super().__init__("rtho", "momentum")
        self.tuner = al.RTHO(self.optimizer, 1e-3, every=3)


def refuses(world: World, untroubled: World, fault: str, where: str) -> None:
    """A broken closure, and then both go on alike."""
    before = world.state()
    loss, words = LOSSES[fault]
    with pytest.raises(al.LossError, match=words):
        world.step(**{where: loss})
    assert same(world.state(), before)
    for _ in range(4):
        world.step()
        untroubled.step()
    assert same(world.state(), untroubled.state())


@pytest.mark.parametrize("fault", BROKEN)
def test_an_outer_loss_that_is_not_due_is_refused_at_the_first_step(fault: str) -> None:
    refuses(Every3(), Every3(), fault, "outer")


def test_that_check_draws_no_random_number_and_is_made_once() -> None:
    world, calls = Every3(), []

    def outer(world: World) -> torch.Tensor:
        calls.append(torch.rand(1))
        return World.outer(world)

    before = torch.get_rng_state()
    for _ in range(2):
        world.step(outer=outer)
        assert torch.equal(torch.get_rng_state(), before) and len(calls) == 1
    world.step(outer=outer)
    assert not torch.equal(torch.get_rng_state(), before) and len(calls) == 2


def resumed(kind: str, optimizer: str = "momentum") -> World:
    """A training of two steps that another process goes on with."""
    first, second = World(kind, optimizer), World(kind, optimizer)
    for _ in range(2):
        first.step()
    second.net.load_state_dict(first.net.state_dict())
    second.optimizer.load_state_dict(copy.deepcopy(first.optimizer.state_dict()))
    second.tuner.load_state_dict(first.tuner.state_dict())
    return second


@pytest.mark.parametrize(
    ("kind", "fault"), [(k, f) for k in TUNERS for f in LOSSES if f != ONCE or k in TAKE_PRODUCTS]
)
@pytest.mark.slow
def test_the_first_step_after_a_state_was_loaded_checks_again(kind: str, fault: str) -> None:
    refuses(resumed(kind), resumed(kind), fault, "train")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["marthe", "many", "hd_outer"])
def test_so_it_does_with_the_outer_loss(kind: str, optimizer: str) -> None:
    refuses(resumed(kind, optimizer), resumed(kind, optimizer), "data", "outer")


@pytest.mark.parametrize(
    ("make", "with_outer"), [(al.MARTHE, True), (al.RTHO, True), (al.HD, True), (al.HD, False)]
)
def test_a_sparse_gradient_is_refused_at_the_first_step(make: Any, with_outer: bool) -> None:
    table = nn.Embedding(5, 2, sparse=True)
    tuner = make(torch.optim.SGD(table.parameters(), lr=0.1))
    before = table.weight.detach().clone()

    def loss() -> torch.Tensor:
        return table(torch.tensor([1, 2])).square().sum()

    with pytest.raises(al.LossError, match="train_loss has a sparse gradient"):
        tuner.step(loss, loss if with_outer else None)
    assert torch.equal(table.weight.detach(), before)
