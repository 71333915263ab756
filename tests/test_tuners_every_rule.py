"""Every tuner with every rule: hypergradients against finite differences, and the same digits twice.

With h_s the value that a hyper-parameter has in step s alone, and mu_t the discount that step t takes,

    Z_{t+1} = mu_t A_t Z_t + B_t   gives   Delta_T = sum over s < T of mu_{s+1} ... mu_{T-1} d E(w_T) / d h_s.

Each d E(w_T) / d h_s is a central difference: a fresh network is trained by torch's own optimizer, with
another h in step s. E is the outer loss. HD as published takes the training loss of the next step, with the
coupled weight decay, and asks for the last value alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import pytest
from oracles import (
    BY_NAME,
    FD_ATOL,
    FD_RTOL,
    SETTINGS,
    Setting,
    Task,
    central_difference,
    close,
    torch_training,
)
from test_tuners import HYPER_LR, Run, registered
from tuner_registry import TUNERS

import adatune_lite as al
from adatune_lite.tuners import Tuner

STEPS = 5
EPS = 1e-3
"""Below it a difference in eps would take a step that rounding hides."""
DIFFERENT = [kind for kind, how in TUNERS.items() if how.differences]
settings = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)


def objective(
    task: Task, setting: Setting, weights: Sequence[al.rules.Tensors], outer: bool, t: int
) -> float:
    """E at the weights before step t."""
    if outer:
        return float(task.outer(weights))
    decay = 0.0 if setting.kind == "adamw" else setting.values["weight_decay"]
    sign = -1 if setting.values["maximize"] else 1
    return sign * float(task.train(weights, t)) + decay / 2 * sum(float(w.square().sum()) for w in weights)


def difference_step(setting: Setting, name: str) -> float:
    """A small part of the scale on which E varies.

    The scale is the value itself for lr and eps, the distance to 1, an inverse memory, for averages, and for
    weight decay and dampening a small number: decay shifts gradients, and Adam feels that where they are
    small. With h = 3e-3 of it and a fifth derivative of 5! E' / scale^4, as 1 / x has, truncation is
    4 (3e-3)^4 E' or 3e-10 of E'. The least h is 3e-6, at which E of order 1 is known to 1e-10. Sums of five
    terms with weights up to 1 then stay within FD_RTOL and FD_ATOL.
    """
    value = setting.lr if name == "lr" else setting.values[name]
    averages = ("momentum", "beta1", "beta2", "alpha")
    return 3e-3 * (value if name in ("lr", "eps") else 1 - value if name in averages else 0.01)


@cache
def slopes(name: str, tuned: str, rates: tuple[float, ...], outer: bool) -> list[float]:
    """d E(w_T) / d h_s for each of the T steps with these rates; h is the value called `tuned`."""
    task, setting = Task(seed=4), BY_NAME[name]

    def moved(s: int, h: float) -> float:
        shifted = [rate + h * (tuned == "lr" and t == s) for t, rate in enumerate(rates)]
        values = {} if tuned == "lr" else {tuned: setting.values[tuned] + h}
        weights = [w.detach() for w in torch_training(task, setting, shifted, values, at=s)]
        return objective(task, setting, weights, outer, len(rates))

    step = difference_step(setting, tuned)
    return [central_difference(lambda h, s=s: moved(s, h), step) for s in range(len(rates))]


class Noted(Run):
    """A run that notes the rate and the discount of each step."""

    def __init__(self, kind: str, setting: Setting, hyper_lr: float, tune: Sequence[str]) -> None:
        how = TUNERS[kind]
        super().__init__(lambda o: how(o, hyper_lr, tune=tune), setting, Task(seed=4), how.outer)
        self.setting = setting
        self.rates: list[float] = []
        self.discounts: list[float] = []

    def advance(self) -> None:
        self.discounts.append(self.tuner.mu)
        self.step()
        self.rates.append(self.tuner.used_lr)

    def check(self) -> None:
        """All hypergradients of the last step."""
        count = self.t if self.outer else self.t - 1  # the published HD speaks of the weights before the step
        for (_, name), delta in self.tuner.hypergradients.items():
            if name == "eps" and self.setting.values["eps"] < EPS:
                continue
            found = slopes(self.setting.name, name, tuple(self.rates[:count]), self.outer)
            expected = sum(math.prod(self.discounts[s + 1 : count]) * x for s, x in enumerate(found))
            close(delta, expected, FD_RTOL, FD_ATOL)


@pytest.mark.parametrize("kind", DIFFERENT)
@settings
@pytest.mark.slow
def test_hypergradient_of_a_rate_that_moves(setting: Setting, kind: str) -> None:
    """At the last step, each difference around the rates that the tuner took."""
    run = Noted(kind, setting, HYPER_LR[setting.kind] / 20, ("lr",))
    for _ in range(STEPS):
        run.advance()
    run.check()
    assert len(set(run.rates)) > 2
    assert abs(run.tuner.hypergradient) > 1e4 * FD_ATOL


@pytest.mark.parametrize("kind", [kind for kind in DIFFERENT if TUNERS[kind].many])
@settings
@pytest.mark.slow
def test_hypergradients_of_every_value(setting: Setting, kind: str) -> None:
    """Values at rest, after the first steps and later: the first step has its own rules."""
    run = Noted(kind, setting, 0.0, setting.rule.hypers)
    for t in range(1, STEPS + 1):
        run.advance()
        if t in (1, 2, STEPS) and (run.outer or t > 1):
            run.check()
    assert set(run.rates) == {setting.lr}


def test_every_public_tuner_is_registered() -> None:
    public = {x for x in vars(al).values() if isinstance(x, type) and issubclass(x, Tuner)} - {Tuner}
    made = set()
    for how in TUNERS.values():
        made.add(type(how(BY_NAME["momentum"].optimizer(Task().weights()))))
    assert made == public


def test_adaptive_discounts_are_not_all_0() -> None:
    """Else the adaptive tuners above would be HD."""
    run = Noted("adaptive_mu", BY_NAME["momentum"], 0.0, ("lr",))
    for _ in range(STEPS):
        run.advance()
    assert sum(mu > 0.1 for mu in run.discounts) >= 3


@pytest.mark.parametrize("kind", TUNERS)
@settings
def test_the_same_run_twice_gives_the_same_digits(setting: Setting, kind: str) -> None:
    runs = [registered(kind, setting, Task()) for _ in range(2)]
    for run in runs:
        for _ in range(4):
            run.step()
    assert str(runs[0].digits()) == str(runs[1].digits())
