"""Unusual weights, gradients and optimizers: right, or refused by name with the remedy."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import BY_NAME, Task
from test_tuners import Run
from torch import Tensor
from tuner_registry import TUNERS

import adatune_lite as al

DERIVED = [kind for kind in TUNERS if kind not in ("fixed", "cycled", "plateau", "autolr")]


@pytest.mark.parametrize("kind", DERIVED)
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_complex_weights_are_refused_where_the_step_is_differentiated(kind: str, optimizer: Any) -> None:
    w = torch.zeros(3, dtype=torch.complex64, requires_grad=True)
    with pytest.raises(ValueError, match=r"real weights, .*view_as_complex"):
        TUNERS[kind](optimizer([w], lr=0.1))


def test_complex_weights_of_classical_schedules() -> None:
    """As plain training of torch has them; bounds of entries mean nothing."""
    start = torch.tensor([1 + 2j, -0.5j])
    a, b = (start.clone().requires_grad_() for _ in range(2))
    with pytest.raises(ValueError, match="clip_grad_value needs real weights"):
        al.FixedSchedule(torch.optim.SGD([a], lr=0.1), [0.1], clip_grad_value=0.1)
    tuner = al.FixedSchedule(torch.optim.SGD([a], lr=0.1), [0.1, 0.2], clip_grad_norm=1.0)
    plain = torch.optim.SGD([b], lr=0.1)
    for rate in tuner.schedule:
        tuner.step(lambda: (a.abs() ** 2).sum())
        plain.param_groups[0]["lr"] = rate
        plain.zero_grad()
        (b.abs() ** 2).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([b], 1.0)
        plain.step()
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("options", [{"clip_grad_value": 0.3}, {"clip_grad_norm": 0.3}, {}])
def test_clipped_sparse_gradients_are_the_dense_ones(options: dict[str, float]) -> None:
    """A row that is used twice has the sum of its gradients, and that is clipped."""
    torch.manual_seed(0)
    table = torch.randn(5, 3)
    used = torch.tensor([1, 2, 1])
    ends = []
    for sparse in (True, False):
        e = torch.nn.Embedding(5, 3, _weight=table.clone(), sparse=sparse)
        tuner = al.FixedSchedule(torch.optim.SGD(e.parameters(), lr=0.1), [0.1, 0.2], **options)
        for _ in range(2):
            tuner.step(lambda e=e: (e(used) ** 2).sum())  # type: ignore[misc]
        ends.append(e.weight.detach())
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("kind", ["marthe", "hd", "fixed", "cycled", "plateau"])
@pytest.mark.parametrize("options", [{"clip_grad_value": 0.3}, {"clip_grad_norm": 0.3}, {}])
def test_a_tuner_can_be_pickled_and_copied(kind: str, options: dict[str, float]) -> None:
    run = Run(lambda o: _clipped(kind, o, options), BY_NAME["momentum"], Task(), TUNERS[kind].outer)
    for _ in range(2):
        run.step()
    for twin in (pickle.loads(pickle.dumps(run.tuner)), copy.deepcopy(run.tuner)):
        assert str(twin.state_dict()) == str(run.tuner.state_dict())
        (w,) = twin.optimizer.param_groups[0]["params"][:1]
        twin.step(*[lambda w=w: (w**2).sum()] * (2 if TUNERS[kind].outer else 1))


def _clipped(kind: str, optimizer: torch.optim.Optimizer, options: dict[str, float]) -> al.Tuner:
    if kind in ("fixed", "cycled"):
        more = ([0.9] * 9,) if kind == "cycled" else ()
        make: Any = al.CycledMomentum if more else al.FixedSchedule
        found: al.Tuner = make(optimizer, [0.1] * 9, *more, **options)
        return found
    return TUNERS[kind](optimizer, **options)


class Accelerated(torch.optim.Optimizer):
    """As accelerate's AcceleratedOptimizer: an optimizer by its class, without what its base makes."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.optimizer.param_groups

    @property
    def state(self) -> Any:
        return self.optimizer.state

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)


class Wrapped:
    """Around an optimizer, and none."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer


USERS: dict[str, Callable[[Any], Any]] = {
    **{kind: make.make for kind, make in TUNERS.items()},
    "lr_range_test": lambda optimizer, _: al.lr_range_test(optimizer, lambda t: torch.zeros(())),
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("wrapper", [Accelerated, Wrapped])
def test_wrapped_optimizers_are_named_with_the_remedy(user: str, wrapper: Any) -> None:
    w = torch.zeros(3, requires_grad=True)
    with pytest.raises(
        al.UnsupportedOptimizer, match="is wrapped around one: give its attribute `optimizer`"
    ):
        USERS[user](wrapper(torch.optim.SGD([w], lr=0.1)), 1e-3)


@pytest.mark.parametrize("user", USERS)
def test_an_optimizer_that_takes_the_loss_is_refused(user: str) -> None:
    w: Tensor = torch.zeros(3, requires_grad=True)
    with pytest.raises(al.UnsupportedOptimizer, match="LBFGS takes the loss itself: use SGD, Adam"):
        USERS[user](torch.optim.LBFGS([w]), 1e-3)
