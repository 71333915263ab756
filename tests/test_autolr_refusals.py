"""Bad input of AutoLR: one sentence each, and a training that is as it was."""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import adatune_lite as al


def weight() -> Tensor:
    return torch.zeros(2, dtype=torch.float64, requires_grad=True)


def sgd() -> torch.optim.Optimizer:
    return torch.optim.SGD([weight()], lr=0.1, momentum=0.9)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"explore_steps": -1}, "explore_steps must be a whole number of at least 0"),
        ({"explore_steps": 2.5}, "explore_steps"),
        ({"explore_steps": 101, "total_steps": 100}, "at most the training's 100 steps, not 101"),
        ({"window": 0}, "window must be a whole number of at least 1"),
        ({"window": True}, "window"),
        ({"samples": 2}, "samples must be a whole number of at least 3"),
        ({"samples": 4}, "samples must be odd"),
        ({"superbatch": 0}, "superbatch"),
        ({"saturation": 0.5}, "saturation must be finite and at least 1"),
        ({"saturation": math.nan}, "saturation"),
        ({"saturation": math.inf}, "saturation"),
        ({"epsilon_threshold": 0.0}, "epsilon_threshold must be finite and above 0"),
        ({"epsilon_threshold": math.nan}, "epsilon_threshold"),
        ({"epsilon_threshold": math.inf}, "epsilon_threshold"),
        ({"lr_min": -1e-3}, "lr_min must lie between 0 and the seed rate 0.1"),
        ({"lr_min": 0.2}, "lr_min"),
        ({"lr_min": math.nan}, "lr_min"),
        ({"lr_min": "x"}, "lr_min"),
        ({"saturation": "x"}, "saturation must be finite and at least 1"),
        ({"saturation": True}, "saturation"),
        ({"epsilon_threshold": [1e-3]}, "epsilon_threshold"),
        ({"reach": 1.0}, "reach is a part of the rate, above 0 and below 1, not 1.0"),
        ({"reach": math.nan}, "reach"),
        ({"spread": 0.0}, "spread is a part of the rate"),
        ({"spread": "x"}, "spread"),
        ({"rollback": "no"}, "rollback must be True or False, not 'no'"),
        ({"total_steps": 0}, "total_steps must be a whole number of at least 1"),
        ({"clip_grad_norm": 0.0}, "clip_grad_norm"),
    ],
)
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        al.AutoLR(sgd(), **{"explore_steps": 5, **options})


def test_whole_numbers_of_numpy_are_welcome() -> None:
    tuner = al.AutoLR(sgd(), np.int64(5), window=np.int32(2), total_steps=np.int64(9))
    assert (tuner.explore_steps, tuner.window) == (5, 2) and type(tuner.window) is int


def test_a_rate_of_zero_gives_no_direction() -> None:
    with pytest.raises(ValueError, match="seed rate must be above 0"):
        al.AutoLR(torch.optim.SGD([weight()], lr=0.0), 5)


def test_unequal_rates_of_groups() -> None:
    groups: list[dict[str, Any]] = [{"params": [weight()], "lr": 0.2}, {"params": [weight()]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    with pytest.raises(ValueError, match=r"the groups have 0.1, 0.2: give all parameter groups the same lr"):
        al.AutoLR(optimizer, 5)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [(torch.optim.LBFGS([weight()]), "LBFGS takes the loss itself"), ("adam", "torch.optim, not str")],
)
def test_unknown_optimizers_at_construction(optimizer: Any, words: str) -> None:
    with pytest.raises(al.UnsupportedOptimizer, match=words):
        al.AutoLR(optimizer, 5)


class Velocity(torch.optim.Optimizer):
    """Momentum as some papers write it, v = 0.9 v - lr g: the rate is in the state."""

    def __init__(self, weights: Any) -> None:
        super().__init__(weights, {"lr": 0.1})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(0.9).add_(p.grad, alpha=-group["lr"])
                p.add_(v)


@pytest.mark.parametrize(
    "make",
    [
        lambda w: torch.optim.Rprop(w, lr=0.1),
        lambda w: torch.optim.ASGD(w, lr=0.1),
        Velocity,
        lambda w: torch.optim.Adafactor(w, lr=3.0),  # above 1 / sqrt(step) its rate has no effect
    ],
    ids=["rprop", "asgd", "velocity", "adafactor"],
)
def test_steps_not_proportional_to_the_rate_are_refused_before_anything_changes(
    make: Callable[[Any], torch.optim.Optimizer],
) -> None:
    w = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = make([w])
    tuner = al.AutoLR(optimizer, 5, window=1)
    with pytest.raises(al.UnsupportedOptimizer, match=f"that of {type(optimizer).__name__} is not"):
        tuner.step(lambda: (w * w).sum(), lambda k: (w * w).sum())
    assert torch.equal(w, torch.ones_like(w)) and not optimizer.state_dict()["state"]


class Setup:
    def __init__(self, explore: int = 5) -> None:
        self.w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
        self.optimizer = torch.optim.SGD([self.w], lr=0.1, momentum=0.9)
        self.tuner = al.AutoLR(self.optimizer, explore, window=2)

    def loss(self, k: int = 0) -> Tensor:
        return self.w.square().sum() + 1

    def step(self, outer: Any = None) -> None:
        self.tuner.step(self.loss, outer or self.loss)

    def state(self) -> str:
        torch.set_printoptions(precision=17)
        parts = self.w, self.optimizer.state_dict(), self.tuner.state_dict(), torch.get_rng_state().sum()
        try:
            return str(copy.deepcopy(parts))
        finally:
            torch.set_printoptions(profile="default")


def _moves(s: Setup) -> Tensor:
    with torch.no_grad():
        s.w.add_(1.0)
    return s.loss()


def _moves_unseen(s: Setup) -> Tensor:
    s.w.data[0] = 3.0
    return s.loss()


BROKEN: dict[str, tuple[Callable[[Setup], Any], str]] = {
    "no argument": (lambda s: lambda: s.loss(), "a function of the superbatch index k"),
    "a tensor": (lambda s: s.loss(), "a function of the superbatch index k"),
    "vector": (
        lambda s: lambda k: s.w.detach(),
        r"scalar floating-point tensor, not a tensor of shape \(2,\)",
    ),
    "number": (lambda s: lambda k: 1.0, "scalar floating-point tensor, not float"),
    "changes weights": (lambda s: lambda k: _moves(s), "outer_loss changed the weights"),
}
AT_START: dict[str, tuple[Callable[[Setup], Any], str]] = {
    "changes weights unseen": (lambda s: lambda k: _moves_unseen(s), "outer_loss changed the weights"),
    "augmentation": (
        lambda s: lambda k: s.loss() + random.random(),
        r"outer_loss\(0\) gave .* and then .* same random seed; the usual cause is data augmentation",
    ),
    "infinite": (lambda s: lambda k: s.loss() * math.inf, r"outer_loss\(0\) is inf at the start"),
}


@pytest.mark.parametrize(
    ("fault", "at"), [*((name, at) for name in BROKEN for at in (0, 3)), *((name, 0) for name in AT_START)]
)
def test_broken_outer_losses_leave_the_training_unharmed(fault: str, at: int) -> None:
    """At the first step, and at the end of a window: the step can be made again as if nothing had been."""
    setup, untroubled = Setup(), Setup()
    for _ in range(at):
        setup.step()
        untroubled.step()
    before = setup.state()
    make, words = {**BROKEN, **AT_START}[fault]
    with pytest.raises(al.LossError, match=words):
        setup.step(make(setup))
    assert setup.state() == before
    for _ in range(3):
        setup.step()
        untroubled.step()
    assert setup.state() == untroubled.state()


@pytest.mark.parametrize("resumed", [False, True])
def test_an_outer_loss_that_differs_later_is_refused(resumed: bool) -> None:
    """At superbatch 1, and at the first fit after a state was loaded."""
    setup = Setup(explore=9)
    for _ in range(6 if resumed else 3):
        setup.step()
    if resumed:
        setup.tuner.load_state_dict(setup.tuner.state_dict())
        setup.step()
    before = setup.state()
    with pytest.raises(al.LossError, match=rf"outer_loss\({3 if resumed else 1}\) gave .* and then"):
        setup.step(lambda k: setup.loss() + random.random())
    assert setup.state() == before


def test_a_function_of_torchscript_has_no_signature_to_check() -> None:
    with warnings.catch_warnings():
        # torch advises against TorchScript, which users have all the same
        warnings.filterwarnings("ignore", message=r".*torch\.jit\.script")
        scripted = torch.jit.script(_one)
    setup = Setup()
    for _ in range(2):
        setup.step(scripted)
    assert setup.tuner.log[-1].reason.startswith("flat")


def _one(k: int) -> Tensor:
    return torch.ones((), dtype=torch.float64)


def test_missing_outer_loss() -> None:
    setup = Setup()
    with pytest.raises(al.LossError, match="AutoLR needs outer_loss: a function of the superbatch index k"):
        setup.tuner.step(setup.loss)


def test_random_numbers_from_torch_are_allowed() -> None:
    setup = Setup()
    for _ in range(4):
        setup.step(lambda k: setup.loss() * (1 + 0.01 * torch.rand(())))
    assert len(setup.tuner.log) == 2


def test_training_losses_that_are_not_finite_change_nothing_and_then_diverge() -> None:
    setup = Setup()
    setup.step()
    before = setup.state()
    setup.tuner.step(lambda: setup.loss() * math.nan, setup.loss)
    assert setup.state().replace("'failures': 1", "'failures': 0") == before
    with pytest.raises(al.Diverged, match="train_loss or its gradient"):
        setup.tuner.step(lambda: setup.loss() * math.nan, setup.loss)
