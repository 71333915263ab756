"""Shorter ways of the tuners against the long ones: HD without a stored Z."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from oracles import BY_NAME, Task
from torch import Tensor

import adatune_lite as al


class WithZ(al.HD):
    """HD that writes Z out at each step."""

    _keeps = False


def hd(task: Task, keeps: bool, **options: Any) -> tuple[al.HD, list[Tensor]]:
    """HD around plain SGD, as it is or with Z written out at each step."""
    weights = task.weights()
    tuner = (al.HD if keeps else WithZ)(BY_NAME["sgd"].optimizer(weights), 0.01, **options)
    assert tuner._keeps is keeps
    return tuner, weights


@pytest.mark.parametrize("options", [{}, {"multiplicative": True}, {"clip_grad_norm": 0.3}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
def test_a_kept_gradient_has_the_digits_of_z(options: dict[str, Any], dtype: torch.dtype) -> None:
    """Also where the state is read in between, where `grad` is overwritten, and with a list of closures."""
    task = Task(dtype=dtype)
    (short, w), (long, v) = hd(task, True, **options), hd(task, False, **options)
    for t in range(12):
        many = t % 4 == 3
        for tuner, weights in ((short, w), (long, v)):
            closures = [lambda x=weights, t=t, i=i: task.train(x, t + i) for i in (0, 1)]
            tuner.step(closures if many else closures[0])
            assert all(x.grad is None for x in weights)
        assert short.used_lr == long.used_lr
        assert all(torch.equal(a, b) for a, b in zip(w, v, strict=True))
        if t % 5 == 0:
            assert str(short.state_dict()) == str({**long.state_dict(), "tuner": "HD"})
    assert short.hypergradient != 0


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_hd_sees_every_entry_that_is_not_finite(keeps: bool, bad: float) -> None:
    """One entry of one gradient, also of a weight that the step before left out, and the loss alone."""

    def one_entry(w: list[Tensor]) -> Tensor:
        """The slope of the root at 0 is inf, and NaN times 0."""
        factor = 1 if math.isinf(bad) else 0
        return task.train(w, 1) + (factor * (w[3][1] - w[3][1].detach())).sqrt()

    task = Task()
    for before in (lambda w: task.train(w, 0), lambda w: (w[0] ** 2).sum() + (w[1] ** 2).sum()):
        for loss in (one_entry, lambda w: task.train(w, 1) + bad):
            tuner, w = hd(task, keeps)
            for _ in range(2):
                tuner.step(lambda before=before, w=w: before(w))
            weights, state = [x.detach().clone() for x in w], str(tuner.state_dict()["tuned"])
            tuner.step(lambda loss=loss, w=w: loss(w))
            assert all(torch.equal(a, b) for a, b in zip(w, weights, strict=True))
            assert str(tuner.state_dict()["tuned"]) == state
            with pytest.raises(al.Diverged):
                tuner.step(lambda loss=loss, w=w: loss(w))


def test_hd_tells_a_product_too_large_from_a_gradient_that_is_not_finite() -> None:
    """The weights move, the rate stays: it is the hypergradient that is not finite."""
    w = [torch.zeros(1, requires_grad=True)]
    tuner = al.HD(torch.optim.SGD(w, lr=1e-25), 0.0)
    for slope in (1e10, 1e25, 1e18):  # 1e25 is finite, its square and 1e25 x 1e18 are not in float32
        before = w[0].detach().clone()
        tuner.step(lambda slope=slope: (w[0] * slope).sum())
        assert not torch.equal(w[0], before)
    assert math.isinf(tuner.hypergradient)
    assert tuner.lr == 1e-25
