"""Update rules against torch.optim; the fused tangent, its jvp twin and the adjoint against each other."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from oracles import (
    BY_NAME,
    FD_ATOL,
    FD_RTOL,
    HYPERS,
    SETTINGS,
    Setting,
    Task,
    Unrolled,
    central_difference,
    close,
    draw,
    draw_gradient,
    draw_state,
    tiny,
    torch_outer,
)
from torch import Tensor

from adatune_lite import rules
from adatune_lite.engine.curvature import gradient, product
from adatune_lite.rules import UnsupportedOptimizer, adjoint, from_optimizer, jvp_tangent, vjp_adjoint

# torch's own decompositions for forward mode, loaded at the first jvp, use torch.jit.script
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:FutureWarning")

settings = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
NAMES: list[tuple[Setting, str | None]] = [*HYPERS, *((s, None) for s in SETTINGS)]


def label(value: Any) -> str:
    return value.name if isinstance(value, Setting) else str(value)


hypers = pytest.mark.parametrize(("setting", "name"), NAMES, ids=label)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


@dtypes
@settings
def test_update_equals_torch(setting: Setting, dtype: torch.dtype) -> None:
    """20 steps, weights and buffers; the first step takes torch's own first-buffer rule."""
    generator = torch.Generator().manual_seed(1)
    ours = draw(generator, dtype)
    theirs = [w.clone().requires_grad_() for w in ours]
    optimizer, rule = setting.optimizer(theirs), setting.rule
    buffers = [[torch.zeros_like(w) for w in ours] for _ in rule.buffers]
    rtol = 1e-13 if dtype is torch.float64 else 1e-5
    for t in range(1, 21):
        g = draw_gradient(generator, dtype, setting)
        for w, x in zip(theirs, g, strict=True):
            w.grad = x.clone()
        optimizer.param_groups[0]["lr"] = lr = setting.lr / t
        optimizer.step()
        for i in range(len(ours)):
            ours[i], new = rule.update(ours[i], [b[i] for b in buffers], g[i], {"lr": lr}, t)
            for part, value in zip(buffers, new, strict=True):
                part[i] = value
            # the floor is the last bit of sums of numbers of order 1
            torch.testing.assert_close(ours[i], theirs[i].detach(), rtol=rtol, atol=rtol)
            for name, part in zip(rule.buffers, buffers, strict=True):
                torch.testing.assert_close(part[i], optimizer.state[theirs[i]][name], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", ["adam", "adam_decay", "adamw", "rmsprop", "rmsprop_momentum"])
@dtypes
def test_forward_value_where_the_second_moment_vanishes(name: str, dtype: torch.dtype) -> None:
    """Nothing but tiny gradients on zero weights: the movements themselves are compared, without a floor."""
    setting = BY_NAME[name]
    g = torch.tensor(tiny(dtype), dtype=dtype)
    theirs = torch.zeros_like(g).requires_grad_()
    theirs.grad = g.clone()
    setting.optimizer([theirs], lr=1.0).step()
    zeros = torch.zeros_like(g)
    ours, _ = setting.rule.update(zeros, [zeros] * len(setting.rule.buffers), g, {"lr": 1.0}, 1)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize(("t", "mu"), [(1, 1.0), (7, 0.5)])
@pytest.mark.parametrize(
    ("setting", "name", "dtype"),
    [*((s, n, torch.float64) for s, n in NAMES), *((s, "lr", torch.float32) for s in SETTINGS)],
    ids=label,
)
def test_fused_tangent_equals_jvp(
    setting: Setting, name: str | None, dtype: torch.dtype, t: int, mu: float
) -> None:
    """Also at exactly zero and denormal gradients, where the products in both are of order 1."""
    rule = setting.rule
    w, buffers, g = draw_state(setting, dtype, t)
    generator = torch.Generator().manual_seed(9)
    z = [draw(generator, dtype) for _ in range(1 + len(buffers))]
    hz = draw(generator, dtype)
    expected = jvp_tangent(rule, z, w, buffers, g, hz, 0.3, t, mu, name)
    rule.tangent_(z, w, buffers, g, hz, 0.3, t, mu, name)
    rtol = 1e-12 if dtype is torch.float64 else 2e-5
    for fused, slow in zip(z, expected, strict=True):
        for a, b in zip(fused, slow, strict=True):
            assert torch.isfinite(a).all()
            torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


@hypers
def test_tangent_without_product_is_the_first_term(setting: Setting, name: str | None) -> None:
    """hz = None means that Z is 0: the same as a product of zeros, whatever z[0] holds."""
    rule = setting.rule
    w, buffers, g = draw_state(setting, torch.float64, 4)
    zeros = [[torch.zeros_like(x) for x in w] for _ in range(1 + len(buffers))]
    expected = jvp_tangent(rule, zeros, w, buffers, g, zeros[0], 0.3, 4, 1.0, name)
    fused = [[torch.full_like(x, 7.0) for x in w]] + [[x.clone() for x in w] for w in zeros[1:]]
    rule.tangent_(fused, w, buffers, g, None, 0.3, 4, 1.0, name)
    for a, b in zip(fused, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("setting", "name"), HYPERS, ids=label)
def test_tangent_through_time_equals_autograd_and_differences(setting: Setting, name: str) -> None:
    """mu = 1, one value for all 4 steps, through the real torch optimizer shifted in that value."""
    task, loop, rule, value = Task(seed=1), Unrolled(Task(seed=1), setting), setting.rule, setting.values
    w = task.weights()
    buffers = [[torch.zeros_like(x) for x in w] for _ in rule.buffers]
    z = [[torch.zeros_like(x) for x in w] for _ in range(1 + len(buffers))]
    for t in range(4):
        loop.step(setting.lr, **({} if name == "lr" else {name: value[name]}))
        grads = [g for g in gradient(task.train(w, t), w, create_graph=True) if g is not None]
        hz = product(grads, w, z[0]) if t else None
        with torch.no_grad():
            plain = [g.detach() for g in grads]
            rule.tangent_(z, w, buffers, plain, hz, setting.lr, t + 1, 1.0, name)
            moved = [
                rule.update(x, [b[i] for b in buffers], plain[i], {"lr": setting.lr}, t + 1)
                for i, x in enumerate(w)
            ]
        w = [x.requires_grad_() for x, _ in moved]
        buffers = [[b[k] for _, b in moved] for k in range(len(buffers))]
    found = sum(
        float((g * x).sum()) for g, x in zip(torch.autograd.grad(task.outer(w), w), z[0], strict=True)
    )
    close(found, loop.discounted(1.0, name))
    if name == "eps" and value["eps"] < 0.01:
        return  # a step of finite differences would be too large for eps

    def shifted(h: float) -> float:
        rates, tuned = [setting.lr] * 4, {name: value[name] + h}
        return torch_outer(task, setting, [r + h for r in rates] if name == "lr" else rates, tuned)

    close(found, central_difference(shifted), FD_RTOL, FD_ATOL)


def _inner(x: list[Tensor], y: list[Tensor]) -> float:
    return sum(float((p * q).sum()) for p, q in zip(x, y, strict=True))


@pytest.mark.parametrize("t", [1, 5])
@settings
def test_adjoint_is_the_transpose(setting: Setting, t: int) -> None:
    """<a, J v> = <J^T a, v> for random a and v = (weights, buffers, gradient, rate)."""
    rule = setting.rule
    w, buffers, g = draw_state(setting, torch.float64, t)
    generator = torch.Generator().manual_seed(2)
    v = [draw(generator, torch.float64) for _ in range(1 + len(buffers))]
    v_gradient = draw(generator, torch.float64)
    a = [draw(generator, torch.float64) for _ in range(1 + len(buffers))]
    forward = jvp_tangent(rule, v, w, buffers, g, v_gradient, 0.3, t, 1.0)
    a_state, a_gradient, a_rate = adjoint(rule, a, w, buffers, g, 0.3, t)
    left = sum(_inner(x, y) for x, y in zip(a, forward, strict=True))
    right = sum(_inner(x, y) for x, y in zip(a_state, v, strict=True)) + _inner(a_gradient, v_gradient)
    right += float(a_rate)  # the jvp moves the rate with speed 1
    assert a_rate.dtype is torch.float64
    assert math.isfinite(left)
    assert left == pytest.approx(right, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("t", [1, 7])
@dtypes
@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.kind == "sgd"], ids=label)
def test_fused_adjoint_equals_vjp(setting: Setting, dtype: torch.dtype, t: int) -> None:
    """What it is given stays as it was."""
    rule = setting.rule
    w, buffers, g = draw_state(setting, dtype, t)
    generator = torch.Generator().manual_seed(3)
    a = [draw(generator, dtype) for _ in range(1 + len(buffers))]
    given = [[x.clone() for x in part] for part in (*a, w, g, *buffers)]
    state, gradient, rate = adjoint(rule, a, w, buffers, g, 0.3, t)
    slow_state, slow_gradient, slow_rate = vjp_adjoint(rule, a, w, buffers, g, 0.3, t)
    rtol = 1e-12 if dtype is torch.float64 else 2e-5
    torch.testing.assert_close(rate, slow_rate, rtol=rtol, atol=rtol)
    for x, y in zip((*state, gradient), (*slow_state, slow_gradient), strict=True):
        torch.testing.assert_close(x, y, rtol=rtol, atol=rtol)
    for x, y in zip((*a, w, g, *buffers), given, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(x, y, strict=True))


@pytest.mark.parametrize("name", ["adam", "rmsprop_momentum"])
@dtypes
def test_slope_is_zero_where_the_second_moment_is_zero(name: str, dtype: torch.dtype) -> None:
    """Zero by an exactly zero gradient and by underflow of its square: d direction / d g is 0 both ways."""
    rule = BY_NAME[name].rule
    tiny_gradient = -1e-170 if dtype is torch.float64 else -1e-30
    g = [torch.tensor([0.0, tiny_gradient], dtype=dtype)]
    one, zero = [torch.ones_like(g[0])], [torch.zeros_like(g[0])]
    z = [[x.clone() for x in zero] for _ in range(3)]
    rule.tangent_(z, zero, [zero, zero], g, one, 0.3, 1, 1.0)
    movement, _ = rule.update(zero[0], [zero[0], zero[0]], g[0], {"lr": 1.0}, 1)
    torch.testing.assert_close(z[0][0], movement, rtol=1e-6, atol=0.0)  # B alone: -direction
    state_adjoint, gradient_adjoint, _ = adjoint(rule, [one, zero, zero], zero, [zero, zero], g, 0.3, 1)
    assert torch.equal(gradient_adjoint[0], zero[0])
    assert torch.equal(state_adjoint[0][0], one[0])


@settings
def test_update_broadcasts_over_a_leading_axis_of_rates(setting: Setting) -> None:
    """Three copies of the weights with their own rates move as each would alone."""
    rule, rates = setting.rule, [0.1, 0.2, 0.0]
    (w, *_), buffers, (g, *_) = draw_state(setting, torch.float64, 2)
    stacked = torch.tensor(rates, dtype=torch.float64)[:, None, None]
    many, kept = rule.update(
        w.expand(3, 4, 3), [b[0].expand(3, 4, 3) for b in buffers], g.expand(3, 4, 3), {"lr": stacked}, 2
    )
    for k, lr in enumerate(rates):
        one, own = rule.update(w, [b[0] for b in buffers], g, {"lr": lr}, 2)
        assert torch.equal(many[k], one)
        assert all(torch.equal(x[k], y) for x, y in zip(kept, own, strict=True))


@pytest.mark.parametrize("name", ["sgd", "sgd_decay", "adam_decay", "adamw", "rmsprop_decay"])
def test_regularised_gradient(name: str) -> None:
    setting = BY_NAME[name]
    w, g = [torch.tensor([2.0, -1.0])], [torch.tensor([0.5, 0.5])]
    decay = 0.0 if name == "adamw" else setting.options.get("weight_decay", 0.0)
    expected = g[0] + decay * w[0]
    assert torch.equal(setting.rule.regularised(g, w)[0], expected)


@settings
def test_rule_of_an_optimizer(setting: Setting) -> None:
    optimizer = setting.optimizer([torch.zeros(2, requires_grad=True)])
    assert from_optimizer(optimizer) == setting.rule
    assert rules.as_rule(optimizer) == rules.as_rule(setting.rule)


def test_adamw_is_adam_with_decoupled_decay() -> None:
    w = [torch.zeros(2, requires_grad=True)]
    assert from_optimizer(torch.optim.AdamW(w)) == rules.AdamW()
    decoupled = torch.optim.Adam(w, weight_decay=0.01, decoupled_weight_decay=True)
    assert from_optimizer(decoupled) == rules.AdamW()
    assert from_optimizer(torch.optim.Adam(w)) == rules.Adam() != rules.AdamW(weight_decay=0.0)


def _two_groups(w: Tensor) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [w]}, {"params": [torch.zeros(1, requires_grad=True)]}], lr=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: torch.optim.Adam([w], amsgrad=True), "amsgrad=False"),
        (lambda w: torch.optim.Adam([w], maximize=True), "maximize=False"),
        (lambda w: torch.optim.SGD([w], lr=0.1, differentiable=True), "differentiable=False"),
        (lambda w: torch.optim.AdamW([w], amsgrad=True), "AdamW with amsgrad"),
        (lambda w: torch.optim.RMSprop([w], centered=True), "centered=False"),
        (lambda w: torch.optim.Adagrad([w], maximize=True), "Adagrad has no update rule here: use SGD, Adam"),
        (lambda w: type("Mine", (torch.optim.SGD,), {})([w], lr=0.1), "Mine has no update rule"),
        (_two_groups, "one group"),
    ],
)
def test_refuses_by_name(make: object, words: str) -> None:
    with pytest.raises(UnsupportedOptimizer, match=words):
        from_optimizer(make(torch.zeros(1, requires_grad=True)))  # type: ignore[operator]


@pytest.mark.parametrize(
    "make",
    [
        lambda: rules.SGD(momentum=-0.1),
        lambda: rules.SGD(momentum=math.nan),
        lambda: rules.SGD(weight_decay=-1.0),
        lambda: rules.SGD(nesterov=True),
        lambda: rules.SGD(momentum=0.9, dampening=0.1, nesterov=True),
        lambda: rules.Adam(beta1=1.0),
        lambda: rules.Adam(beta2=-0.1),
        lambda: rules.Adam(eps=math.inf),
        lambda: rules.Adam(weight_decay=-1e-3),
        lambda: rules.AdamW(weight_decay=-1e-3),
        lambda: rules.RMSprop(alpha=1.0),
        lambda: rules.RMSprop(momentum=-0.1),
    ],
)
def test_refuses_values_out_of_range(make: object) -> None:
    with pytest.raises(ValueError, match=r"must be a finite number|Nesterov"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("rule", "name", "choices"),
    [
        (rules.SGD(), "momentum", "lr, weight_decay"),
        (rules.SGD(0.9, nesterov=True), "dampening", "lr, weight_decay, momentum"),
        (rules.Adam(), "momentum", "lr, beta1, beta2, weight_decay, eps"),
        (rules.RMSprop(eps=0.0), "eps", "lr, alpha, weight_decay"),
    ],
)
def test_refuses_a_hyper_parameter_that_the_rule_does_not_have(
    rule: rules.Rule, name: str, choices: str
) -> None:
    one = [torch.ones(2)]
    z, b = [one, one, one], [one] * len(rule.buffers)
    for call in (
        lambda: rule.tangent_(z, one, b, one, one, 0.1, 2, 1.0, name),
        lambda: jvp_tangent(rule, z, one, b, one, one, 0.1, 2, 1.0, name),
    ):
        with pytest.raises(ValueError, match=f"no derivative by '{name}': choose among {choices}"):
            call()
