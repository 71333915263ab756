"""A second derivative that does not exist: the warning names its loss, and the training ends."""

from __future__ import annotations

import copy
import logging
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

import adatune_lite as al
from adatune_lite.tuners.hypergradient import LOOKS, MOST_LOST

PADDED = torch.tensor([[1.0, 2.0], [0.0, 0.0], [3.0, -1.0]], dtype=torch.float64)
LOSSES = {
    "norm": lambda y: y.norm(dim=1).mean(),
    "distance": lambda y: torch.linalg.vector_norm(y, dim=1).mean(),
}
"""Each has a gradient at a row of zeros, and no second derivative."""


class World:
    """A linear map of rows of which one is padding, trained by the norm of what comes out."""

    def __init__(self, mu: float = 0.9, every: int = 1, padded: str = "always") -> None:
        torch.manual_seed(0)
        self.net = nn.Linear(2, 2, bias=False).double()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01)
        self.tuner = al.MARTHE(self.optimizer, mu, 1e-3, every=every)
        self.padded = padded
        self.steps = 0

    def step(self, loss: str = "norm") -> None:
        rows = PADDED if self.padded == "always" or self.steps % 6 == 2 else PADDED[[0, 2]]
        self.steps += 1
        self.tuner.step(lambda: LOSSES[loss](self.net(rows)), lambda: self.net(PADDED).square().mean())


@pytest.mark.parametrize("loss", ["norm", "distance"])
def test_the_loss_is_named_and_the_training_ends(loss: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level(logging.WARNING, "adatune_lite"):
        for _ in range(7):
            world.step(loss)
        with pytest.raises(
            al.Diverged, match=r"the second derivative of train_loss .* at 4 of the last 4 looks"
        ):
            world.step(loss)  # one look without a product follows each lost one
    assert caplog.messages and all("the second derivative of train_loss" in m for m in caplog.messages)
    assert not any("outer_loss" in m for m in caplog.messages)


def test_what_is_lost_now_and_then_goes_on() -> None:
    world = World(padded="sometimes")
    for _ in range(36):
        world.step()
    assert world.tuner.lr != 0.01 and sum(world.tuner._lost_of_last) < MOST_LOST <= LOOKS


@pytest.mark.parametrize("every", [1, 2])
def test_hd_needs_no_second_derivative(every: int) -> None:
    world = World(mu=0.0, every=every)
    for _ in range(12):
        world.step()
        assert every == 2 or math.isfinite(world.tuner.hypergradient)


def test_the_outer_loss_is_blamed_for_its_own() -> None:
    w = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    tuner = al.MARTHE(torch.optim.SGD([w], lr=0.01), 0.9)
    looks = iter([1.0, math.nan, math.nan])

    def step() -> None:
        tuner.step(lambda: w.square().sum(), lambda: w.square().sum() * next(looks))

    step()
    step()
    with pytest.raises(al.Diverged, match=r"^outer_loss or the hypergradient was not finite twice in a row"):
        step()


def test_what_was_lost_before_a_save_counts_after_it() -> None:
    def run(save_at: int | None) -> int:
        world = World()
        for t in range(12):
            if t == save_at:
                weights = copy.deepcopy(world.net.state_dict())
                state, optimizer = world.tuner.state_dict(), copy.deepcopy(world.optimizer.state_dict())
                world, steps = World(), world.steps
                world.net.load_state_dict(weights)
                world.optimizer.load_state_dict(optimizer)
                world.tuner.load_state_dict(copy.deepcopy(state))
                world.steps = steps
            try:
                world.step()
            except al.Diverged:
                return t
        return -1

    assert {run(at) for at in (None, *range(8))} == {7}


@pytest.mark.parametrize("name", ["lost_of_last", "multiplied"])
def test_a_state_that_is_no_such_state_is_refused(name: str) -> None:
    world = World()
    with pytest.raises(ValueError, match=r"must be True or False|not as one was saved"):
        world.tuner.load_state_dict({**world.tuner.state_dict(), name: 3})


def mean_of_pairs(y: Tensor) -> Tensor:
    return 1 - cosine_similarity(y, y.roll(1, 0), dim=1).mean()


@pytest.mark.parametrize("loss", [mean_of_pairs, lambda y: normalize(y, dim=1)[:, 0].sum()])
def test_losses_that_torch_guards_are_right_or_end(loss: object) -> None:
    """Whatever torch makes of a padded row: Delta is a number, or the training ends and says why."""
    world = World()
    said = ""
    try:
        for _ in range(12):
            world.tuner.step(
                lambda: loss(world.net(PADDED)),  # type: ignore[operator]
                lambda: world.net(PADDED).square().mean(),
            )
    except al.Diverged as error:
        said = str(error)
    assert math.isfinite(world.tuner.hypergradient) or "second derivative of train_loss" in said
