"""Update rules against torch.optim; the fused tangent, its jvp twin and the adjoint against each other."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import BY_NAME, SETTINGS, Setting
from torch import Tensor

from adatune_lite import rules
from adatune_lite.rules import UnsupportedOptimizer, adjoint, from_optimizer, jvp_tangent

# torch's own decompositions for forward mode, loaded at the first jvp, use torch.jit.script
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:FutureWarning")

settings = pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["f64", "f32"])


def tiny(dtype: torch.dtype) -> list[float]:
    """Exactly zero, a denormal number, one whose square is denormal, and one whose square underflows."""
    if dtype is torch.float64:
        return [0.0, 5e-324, 1e-310, 3e-159, -1e-170]
    return [0.0, 1e-45, 1e-40, 3e-20, -1e-30]


def draw(generator: torch.Generator, dtype: torch.dtype) -> list[Tensor]:
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype) for s in ((4, 3), (5,), (1,))]


def gradients(generator: torch.Generator, dtype: torch.dtype, setting: Setting) -> list[Tensor]:
    """Random gradients whose last entries are zero or nearly so (Adam without eps: torch divides 0 by 0)."""
    g = draw(generator, dtype)
    if setting.name != "adam_eps0":
        g[1] = torch.tensor(tiny(dtype), dtype=dtype)
        g[0].view(-1)[:5] = torch.tensor(tiny(dtype), dtype=dtype)
    return g


def state(
    setting: Setting, dtype: torch.dtype, seed: int
) -> tuple[list[Tensor], list[list[Tensor]], list[Tensor]]:
    """Weights, buffers and gradient in mid-training; where the gradient is tiny, so are the buffers."""
    generator = torch.Generator().manual_seed(seed)
    w, g = draw(generator, dtype), gradients(generator, dtype, setting)
    buffers = [draw(generator, dtype) for _ in setting.rule.buffers]
    if setting.kind == "adam":
        buffers[1] = [b.square() for b in buffers[1]]
        if setting.name != "adam_eps0":
            for b in buffers:
                b[1].zero_()
    return w, buffers, g


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
        g = gradients(generator, dtype, setting)
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


@pytest.mark.parametrize("name", ["adam", "adam_decay"])
@dtypes
def test_adam_forward_value_where_the_second_moment_vanishes(name: str, dtype: torch.dtype) -> None:
    """Nothing but tiny gradients on zero weights: the movements themselves are compared, without a floor."""
    setting = BY_NAME[name]
    g = torch.tensor(tiny(dtype), dtype=dtype)
    theirs = torch.zeros_like(g).requires_grad_()
    theirs.grad = g.clone()
    setting.optimizer([theirs], lr=1.0).step()
    zeros = torch.zeros_like(g)
    ours, _ = setting.rule.update(zeros, [zeros, zeros], g, {"lr": 1.0}, 1)
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("t", [1, 2, 7])
@dtypes
@settings
def test_fused_tangent_equals_jvp(setting: Setting, dtype: torch.dtype, t: int, mu: float) -> None:
    """Also at exactly zero and denormal gradients, where the products in both are of order 1."""
    rule = setting.rule
    w, buffers, g = state(setting, dtype, seed=t)
    if t == 1:
        buffers = [[torch.zeros_like(x) for x in b] for b in buffers]
    generator = torch.Generator().manual_seed(9)
    z = [draw(generator, dtype) for _ in range(1 + len(buffers))]
    hz = draw(generator, dtype)
    expected = jvp_tangent(rule, z, w, buffers, g, hz, 0.3, t, mu)
    rule.tangent_(z, w, buffers, g, hz, 0.3, t, mu)
    rtol = 1e-12 if dtype is torch.float64 else 2e-5
    for fused, slow in zip(z, expected, strict=True):
        for a, b in zip(fused, slow, strict=True):
            assert torch.isfinite(a).all()
            torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


@settings
def test_tangent_without_product_is_the_first_term(setting: Setting) -> None:
    """hz = None means that Z is 0: the same as a product of zeros."""
    rule = setting.rule
    w, buffers, g = state(setting, torch.float64, seed=5)
    zeros = [[torch.zeros_like(x) for x in w] for _ in range(1 + len(buffers))]
    expected = jvp_tangent(rule, zeros, w, buffers, g, zeros[0], 0.3, 4, 1.0)
    fused = [[torch.full_like(x, 7.0) for x in w]] + [[x.clone() for x in w] for w in zeros[1:]]
    rule.tangent_(fused, w, buffers, g, None, 0.3, 4, 1.0)
    for a, b in zip(fused, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("t", [1, 5])
@settings
def test_adjoint_is_the_transpose(setting: Setting, t: int) -> None:
    """<a, J v> = <J^T a, v> for random a and v = (weights, buffers, gradient, rate)."""
    rule = setting.rule
    w, buffers, g = state(setting, torch.float64, seed=t)
    if t == 1:
        buffers = [[torch.zeros_like(x) for x in b] for b in buffers]
    generator = torch.Generator().manual_seed(2)
    v = [draw(generator, torch.float64) for _ in range(1 + len(buffers))]
    v_gradient = draw(generator, torch.float64)
    a = [draw(generator, torch.float64) for _ in range(1 + len(buffers))]
    forward = jvp_tangent(rule, v, w, buffers, g, v_gradient, 0.3, t, 1.0)
    a_state, a_gradient, a_rate = adjoint(rule, a, w, buffers, g, 0.3, t)

    def inner(x: list[Tensor], y: list[Tensor]) -> float:
        return sum(float((p * q).sum()) for p, q in zip(x, y, strict=True))

    left = sum(inner(x, y) for x, y in zip(a, forward, strict=True))
    right = sum(inner(x, y) for x, y in zip(a_state, v, strict=True)) + inner(a_gradient, v_gradient)
    right += float(a_rate)  # the jvp moves the rate with speed 1
    assert a_rate.dtype is torch.float64
    assert math.isfinite(left)
    assert left == pytest.approx(right, rel=1e-12, abs=1e-12)


@dtypes
def test_adam_has_slope_zero_where_the_second_moment_is_zero(dtype: torch.dtype) -> None:
    """Zero by an exactly zero gradient and by underflow of its square: d direction / d g is 0 both ways."""
    rule = rules.Adam()
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


@pytest.mark.parametrize("name", ["sgd", "sgd_decay", "adam_decay"])
def test_regularised_gradient(name: str) -> None:
    setting = BY_NAME[name]
    w, g = [torch.tensor([2.0, -1.0])], [torch.tensor([0.5, 0.5])]
    expected = g[0] + setting.options.get("weight_decay", 0.0) * w[0]
    assert torch.equal(setting.rule.regularised(g, w)[0], expected)


@settings
def test_rule_of_an_optimizer(setting: Setting) -> None:
    optimizer = setting.optimizer([torch.zeros(2, requires_grad=True)])
    assert from_optimizer(optimizer) == setting.rule
    assert rules.as_rule(optimizer) == rules.as_rule(setting.rule)


def _two_groups(w: Tensor) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [w]}, {"params": [torch.zeros(1, requires_grad=True)]}], lr=0.1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda w: torch.optim.Adam([w], amsgrad=True), "amsgrad=False"),
        (lambda w: torch.optim.Adam([w], maximize=True), "maximize=False"),
        (lambda w: torch.optim.SGD([w], lr=0.1, maximize=True), "maximize=False"),
        (lambda w: torch.optim.SGD([w], lr=0.1, differentiable=True), "differentiable=False"),
        (lambda w: torch.optim.Adam([w], decoupled_weight_decay=True), "decoupled_weight_decay=False"),
        (lambda w: torch.optim.AdamW([w]), "AdamW"),
        (lambda w: torch.optim.RMSprop([w]), "RMSprop"),
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
    ],
)
def test_refuses_values_out_of_range(make: object) -> None:
    with pytest.raises(ValueError, match=r"must be a finite number|Nesterov"):
        make()  # type: ignore[operator]
