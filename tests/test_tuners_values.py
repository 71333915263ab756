"""Tuning more than one rate: other scalars of the optimizer, several parameter groups, bounds, cost."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from oracles import (
    BY_NAME,
    FD_ATOL,
    FD_RTOL,
    HYPERS,
    Setting,
    Task,
    Unrolled,
    central_difference,
    close,
)
from torch import Tensor

import adatune_lite as al
from adatune_lite.tuners import products as kernel
from adatune_lite.tuners.tuned import KEEPS_BUFFER

T = 5
OTHERS = [(s, name) for s, name in HYPERS if name != "lr"]


@pytest.mark.parametrize(
    ("setting", "name", "mu"),
    [
        *((s, name, 0.6) for s, name in OTHERS),
        *((s, name, mu) for s, name in OTHERS if s.name in ("nesterov_decay", "adamw") for mu in (0.0, 1.0)),
    ],
    ids=lambda x: x.name if isinstance(x, Setting) else str(x),
)
def test_each_delta_is_the_discounted_double_sum(setting: Setting, name: str, mu: float) -> None:
    """Rate and one other value move together; autograd through time has both as leaves of each step."""
    task, loop, w = Task(), Unrolled(Task(), setting), Task().weights()
    scale = 1e-3 * (setting.values["eps"] if name == "eps" else 1.0)
    tuner = al.MARTHE(
        setting.optimizer(w),
        mu,
        {"lr": 1e-3 * setting.lr, name: scale},
        tune=("lr", name),
        clip_hypergradient=1.0,
    )
    for t in range(T):
        lr, value = tuner.values[0, "lr"], tuner.values[0, name]
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        loop.step(lr, **{name: value})
        scale = float(loop.slopes(name).abs().max())
        close(tuner.hypergradients[0, "lr"], loop.discounted(mu))
        close(tuner.hypergradients[0, name], loop.discounted(mu, name), atol=1e-12 * max(scale, 1.0))
        moved = 1e-3 * setting.lr * max(-1.0, min(1.0, tuner.hypergradients[0, "lr"]))
        assert tuner.values[0, "lr"] == max(0.0, lr - moved)
    assert tuner.values[0, name] != setting.values[name] or name == "dampening" or value == 0
    for ours, theirs in zip(w, loop.w, strict=True):
        close(ours.detach(), theirs.detach())


GROUPS: dict[str, Callable[[list[Any]], torch.optim.Optimizer]] = {
    "momentum": lambda g: torch.optim.SGD(g, lr=0.05, momentum=0.9, weight_decay=0.1),
    "adam": lambda g: torch.optim.Adam(g, lr=0.03, weight_decay=0.1, betas=(0.8, 0.95)),
    "adamw": lambda g: torch.optim.AdamW(g, lr=0.03, weight_decay=0.1, betas=(0.8, 0.95)),
    "rmsprop": lambda g: torch.optim.RMSprop(g, lr=0.01, alpha=0.9, eps=0.01, momentum=0.8, weight_decay=0.1),
}


def grouped(kind: str, w: list[Tensor]) -> torch.optim.Optimizer:
    """Two groups with different settings; the second of SGD and RMSprop has no momentum and fewer buffers."""
    other: dict[str, Any] = {"params": w[1:], "lr": 0.02, "weight_decay": 0.0}
    if kind in ("momentum", "rmsprop"):
        other["momentum"] = 0.0
    return GROUPS[kind]([{"params": w[:1]}, other])


@pytest.mark.parametrize("mu", [0.0, 1.0])
@pytest.mark.parametrize("kind", GROUPS)
def test_groups_equal_finite_differences_through_time(kind: str, mu: float) -> None:
    """Each group's values have a Delta of their own, also where they act through the other group's weights.

    mu = 1: the value shifted in all steps; mu = 0: in the last one.
    """
    task = Task(seed=2)
    w = task.weights()
    tuner = al.MARTHE(grouped(kind, w), mu, 0.0, tune=("lr", "weight_decay"))
    for t in range(T):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
    assert list(tuner.values) == [(k, name) for k in (0, 1) for name in ("lr", "weight_decay")]
    assert tuner.hypergradient == tuner.hypergradients[0, "lr"]
    for (k, name), delta in tuner.hypergradients.items():

        def replay(h: float, k: int = k, name: str = name) -> float:
            w = task.weights()
            optimizer = grouped(kind, w)
            for t in range(T):
                if t == (0 if mu == 1 else T - 1):
                    optimizer.param_groups[k][name] += h
                optimizer.zero_grad()
                task.train(w, t).backward()
                optimizer.step()
            return float(task.outer(w).detach())

        close(delta, central_difference(replay), FD_RTOL, FD_ATOL)


def test_groups_move_on_their_own() -> None:
    w = Task().weights()
    task, optimizer = Task(), grouped("adam", w)
    tuner = al.MARTHE(optimizer, 0.9, {(0, "lr"): 0.0, "lr": 1e-3})
    for t in range(3):
        before = tuner.values
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        assert tuner.values[0, "lr"] == tuner.lr == 0.03
        assert tuner.values[1, "lr"] == before[1, "lr"] - 1e-3 * tuner.hypergradients[1, "lr"] != 0.02
        assert [g["lr"] for g in optimizer.param_groups] == list(tuner.values.values())


@pytest.mark.parametrize("kind", ["sgd", "rmsprop"])
def test_momentum_is_tuned_from_zero(kind: str) -> None:
    """At 0 with a buffer: the weights are those without momentum, the slope that of torch around 0."""
    task, setting = Task(), BY_NAME[{"sgd": "sgd", "rmsprop": "rmsprop_decay"}[kind]]

    def replay(h: float) -> list[Tensor]:
        w = task.weights()
        optimizer = setting.optimizer(w)
        optimizer.param_groups[0]["momentum"] = h
        for t in range(T):
            optimizer.zero_grad()
            task.train(w, t).backward()
            optimizer.step()
        return w

    w = task.weights()
    tuner = al.RTHO(setting.optimizer(w), 0.0, tune=("momentum",))
    assert tuner.values == {(0, "momentum"): KEEPS_BUFFER}
    for t in range(T):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
    for x, y in zip(w, replay(0.0), strict=True):
        close(x.detach(), y.detach(), rtol=1e-14)
    if kind == "sgd":
        found = central_difference(lambda h: float(task.outer(replay(h)).detach()))
    else:  # torch leaves a negative momentum out: one-sided, of third order
        f = [float(task.outer(replay(k * 1e-4)).detach()) for k in range(4)]
        found = (-11 * f[0] + 18 * f[1] - 9 * f[2] + 2 * f[3]) / 6e-4
    close(tuner.hypergradient, found, FD_RTOL, 10 * FD_ATOL)  # h^3 f^(4) / 4 of the one-sided difference


def test_values_stay_within_bounds_and_reach_the_optimizer() -> None:
    task, setting = Task(), BY_NAME["adam_decay"]
    w = task.weights()
    optimizer = setting.optimizer(w)
    names = ("lr", "beta1", "beta2", "weight_decay")
    bounds = {"beta1": (0.7, 0.85), (0, "beta2"): (0.9, 0.96)}
    tuner = al.MARTHE(optimizer, 0.9, 1e3, tune=names, bounds=bounds, lr_min=0.01, lr_max=0.05)
    limits = {"lr": (0.01, 0.05), "beta1": (0.7, 0.85), "beta2": (0.9, 0.96), "weight_decay": (0.0, math.inf)}
    for t in range(8):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        for (_, name), value in tuner.values.items():
            low, high = limits[name]
            assert low <= value <= high
        group = optimizer.param_groups[0]
        assert (group["lr"], *group["betas"], group["weight_decay"]) == tuple(tuner.values.values())
    assert sum(value in limits[name] for (_, name), value in tuner.values.items()) >= 3


def test_a_rate_that_is_not_tuned_is_the_optimizers() -> None:
    """A scheduler may move it between steps."""
    task, w = Task(), Task().weights()
    optimizer = torch.optim.SGD(w, lr=0.1, momentum=0.5)
    tuner = al.MARTHE(optimizer, 1.0, 1e-3, tune=("momentum",))
    loop = Unrolled(task, Setting("", "sgd", {"momentum": 0.5}))
    for t in range(4):
        optimizer.param_groups[0]["lr"] = rate = 0.1 / (t + 1)
        loop.step(rate, momentum=tuner.values[0, "momentum"])
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        assert tuner.used_lr == tuner.lr == rate
        close(tuner.hypergradient, loop.discounted(1.0, "momentum"))


@pytest.mark.parametrize(
    ("tune", "mu", "products"), [(("lr",), 0.9, 1), (("lr", "momentum"), 0.9, 2), (("lr",), 0.0, 0)]
)
def test_each_value_costs_one_product(
    tune: tuple[str, ...], mu: float, products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, w, calls = Task(), Task().weights(), []
    product = kernel.product
    monkeypatch.setattr(kernel, "product", lambda *a, **k: calls.append(1) or product(*a, **k))
    tuner = al.MARTHE(BY_NAME["momentum"].optimizer(w), mu, tune=tune)
    tuner.step(lambda: task.train(w, 0), lambda: task.outer(w))
    calls.clear()
    tuner.step(lambda: task.train(w, 1), lambda: task.outer(w))
    assert len(calls) == products


def test_a_list_of_closures_is_their_mean() -> None:
    """Also where they use different weights: one that no closure uses has no gradient."""
    task, setting = Task(), BY_NAME["nesterov_decay"]
    w, v = ([*task.weights(), torch.ones(3, dtype=torch.float64, requires_grad=True)] for _ in range(2))
    listed, summed = (al.MARTHE(setting.optimizer(x), 0.9, 1e-3, tune=("lr", "momentum")) for x in (w, v))

    def extra(w: list[Tensor]) -> Tensor:
        return (w[4] * w[1][:3]).square().sum()

    for t in range(4):
        closures = [lambda t=t: task.train(w, t), lambda t=t: task.train(w, t + 1)]
        if t:
            closures.append(lambda: extra(w))
        first = listed.step(closures, lambda: task.outer(w))
        second = summed.step(
            lambda t=t: (task.train(v, t) + task.train(v, t + 1) + (extra(v) if t else 0)) / (3 if t else 2),
            lambda: task.outer(v),
        )
        close(first, second)
        for key, delta in listed.hypergradients.items():
            close(delta, summed.hypergradients[key])
    for x, y in zip(w, v, strict=True):
        close(x.detach(), y.detach())


@pytest.mark.parametrize("make", [lambda o: al.HD(o), lambda o: al.FixedSchedule(o, [0.1])])
def test_tuners_without_outer_loss_take_a_list_too(make: Any) -> None:
    task, w, v = Task(), Task().weights(), Task().weights()
    make(torch.optim.SGD(w, lr=0.1)).step([lambda: task.train(w, 0), lambda: task.train(w, 1)])
    make(torch.optim.SGD(v, lr=0.1)).step(lambda: (task.train(v, 0) + task.train(v, 1)) / 2)
    for x, y in zip(w, v, strict=True):
        close(x.detach(), y.detach())


def test_faults_in_a_list_are_named() -> None:
    task, w = Task(), Task().weights()
    tuner = al.MARTHE(torch.optim.SGD(w, lr=0.1))
    good = lambda: task.train(w, 0)  # noqa: E731
    with pytest.raises(al.LossError, match=r"train_loss\[1\] must return a scalar"):
        tuner.step([good, lambda: w[0]], good)
    with pytest.raises(al.LossError, match="at least one closure"):
        tuner.step([], good)
    before = [x.detach().clone() for x in w]
    assert tuner.step([good, lambda: task.train(w, 0) * math.nan], good).isnan()
    assert all(torch.equal(x, y) for x, y in zip(w, before, strict=True))


SGD = {"momentum": 0.9}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tune": "lr"}, "tune must be a tuple"),
    ({"tune": ()}, "tune must be a tuple"),
    ({"tune": ("lr", "lr")}, "different names"),
    ({"tune": ("beta1",)}, "SGD has no 'beta1' to tune in group 0: choose among lr, weight_decay, momentum"),
    ({"tune": ("nesterov",)}, "no 'nesterov'"),
    ({"tune": ("momentum",), "bounds": {"momentum": (0.0, 0.8)}}, "exclude its start 0.9"),
    ({"tune": ("momentum",), "bounds": {"momentum": (0.95, 0.99)}}, "exclude its start 0.9"),
    ({"tune": ("momentum",), "bounds": {"momentum": (0.0, 1.5)}}, "within"),
    ({"tune": ("momentum",), "bounds": {"momentum": 0.9}}, "must be a pair of numbers"),
    ({"bounds": {"momentum": (0.0, 0.99)}}, "bounds has an entry 'momentum', which is not tuned"),
    ({"bounds": (0.5, 0.99)}, "bounds must be a mapping"),
    ({"bounds": ()}, "bounds must be a mapping"),
    ({"bounds": {"lr": (0.2, 1.0)}}, "exclude its start 0.1"),
    ({"tune": ("weight_decay",), "bounds": {"weight_decay": (1e-3, 1)}}, r"\[0.001, 1\] .* its start 0"),
    ({"mu": torch.zeros(2)}, r"mu must be a number in \[0, 1\]"),
    ({"hyper_lr": torch.zeros(2)}, "hyper_lr must be a finite number and not negative"),
    ({"scaler": True}, "scaler must be a torch.amp.GradScaler or None, not True"),
    ({"capturable": "no"}, "capturable must be True or False, not 'no'"),
    ({"bounds": {"lr": (-0.1, 1.0)}}, "must be a pair within"),
    ({"bounds": {(1, "lr"): (0.0, 1.0)}}, "not tuned"),
    ({"bounds": {(0, "lr"): (0.0, 1.0)}, "lr_max": 1.0}, "not both"),
    ({"tune": ("momentum",), "lr_max": 1.0}, 'add "lr" to tune=.*momentum'),
    ({"tune": ("momentum",), "lr_min": 0.01}, 'add "lr" to tune'),
    ({"lr_max": {0: 0.2}}, "lr_max must be a number, one for the rates of all groups"),
    ({"lr_max": (0.2, 0.3)}, "lr_max must be a number"),
    ({"lr_min": None}, "lr_min must be a number"),
    ({"clip_hypergradient": (1.0,)}, "clip_hypergradient must be a number above 0"),
    ({"clip_grad_norm": "1"}, "clip_grad_norm must be a finite number"),
    ({"tune": 3}, "tune must be a tuple"),
    ({"tune": (["lr"],)}, "tune must be a tuple"),
    ({"hyper_lr": {"momentum": 1e-3}}, "hyper_lr has an entry 'momentum', which is not tuned"),
    ({"hyper_lr": {"lr": 1e-3}, "tune": ("lr", "momentum")}, "hyper_lr has no entry for 'momentum'"),
    ({"hyper_lr": {(1, "lr"): 1e-3}}, "not tuned"),
    ({"hyper_lr": {"lr": -1.0}}, "hyper_lr must be a finite number"),
    ({"hyper_lr": "much"}, "hyper_lr must be a finite number"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_refuses_by_name(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        al.MARTHE(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, **SGD), **options)


def test_numpy_numbers_are_numbers() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    tuner = al.MARTHE(optimizer, np.float32(0.5), np.float32(1e-6), every=np.int64(2))
    assert (tuner.mu, tuner.every) == (0.5, 2) and tuner.hyper_lr == float(np.float32(1e-6))
    adaptive = al.MARTHE(optimizer, "adaptive", "adaptive", alpha=np.float64(1e-6))
    w = optimizer.param_groups[0]["params"][0]
    for _ in range(3):
        adaptive.step(lambda: (w - 1).square().sum(), lambda: (w - 2).square().sum())
    for state in (tuner.state_dict(), adaptive.state_dict()):
        torch.save(state, file := io.BytesIO())
        torch.load(io.BytesIO(file.getvalue()), weights_only=True)


@pytest.mark.parametrize("options", [{"capturable": True}, {"clip_hypergradient": 1.0}])
def test_the_multiplicative_rule_refuses_what_it_has_no_use_for(options: dict[str, Any]) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=f"{next(iter(options))} is for the additive rule alone"):
        al.HD(optimizer, multiplicative=True, **options)
    with pytest.raises(ValueError, match="multiplicative must be True or False, not 'no'"):
        al.HD(optimizer, multiplicative="no")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make", [al.MARTHE, al.HD, lambda o: al.AutoLR(o, 2), lambda o: al.ReduceOnPlateau(o, 2)]
)
@pytest.mark.parametrize("given", [torch.nn.Linear(2, 1), [torch.zeros(1, requires_grad=True)], 0.1])
def test_no_optimizer_is_refused(make: Any, given: Any) -> None:
    with pytest.raises(ValueError, match=f"needs an optimizer of torch.optim, not {type(given).__name__}"):
        make(given)


def test_the_bounds_of_the_rates_may_differ_by_group() -> None:
    task, w = Task(), Task().weights()
    bounds = {"lr": (0.0, 0.05), (0, "lr"): (0.02, 0.04)}
    tuner = al.MARTHE(grouped("adam", w), 0.9, 1e3, bounds=bounds)
    seen: list[set[float]] = [set(), set()]
    for t in range(8):
        tuner.step(lambda t=t: task.train(w, t), lambda: task.outer(w))
        for k, rates in enumerate(seen):
            rates.add(tuner.values[k, "lr"])
    assert seen[0] <= {0.02, 0.04} and seen[1] <= {0.0, 0.05}
