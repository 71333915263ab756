"""Update rules as pure element-wise maps, and their tangents.

A rule advances weights and optimizer buffers by one step,

    (w, b), g, h, t  ->  (w', b'),

with the gradient g taken outside, hyper-parameters h (a mapping of names to numbers or 0-dim tensors) and
t = 1, 2, ... the number of the step. `update` is the definition, for one tensor, in the semantics of
`torch.optim`; everything else is derived from it. `tangent_` is its fused forward derivative on lists of
tensors, in place: with Z = d(w, b)/d(lr) and HZ the Hessian-vector product of the loss with Z's weight part,

    Z' = mu A Z + B,   A = d(w', b')/d(w, b),   B = d(w', b')/d(lr)

(MARTHE, arXiv 1910.08525; Franceschi et al., arXiv 1703.01785). `jvp_tangent` is its slow twin through
`torch.func.jvp` and `adjoint` the reverse derivative through `torch.func.vjp`.

Where Adam's derivative is singular (second moment exactly zero: dead units, constant pixels, underflow) the
direction is constant: its derivative is taken as zero, and the forward value stays that of torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

Hyper = Mapping[str, float | Tensor]
Tensors = list[Tensor]


class UnsupportedOptimizer(ValueError):
    """An optimizer, or one of its options, has no rule here."""


class Rule(Protocol):
    """What sweeps and tuners know of a rule."""

    @property
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers in `optimizer.state[p]`, in the order in which `update` takes them."""

    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step for one tensor; buffers before the first step are zeros."""

    def regularised(self, g: Tensors, w: Tensors) -> Tensors:
        """The gradient with coupled weight decay, which the published HD multiplies."""

    def tangent_(
        self,
        z: list[Tensors],
        w: Tensors,
        b: list[Tensors],
        g: Tensors,
        hz: Tensors | None,
        lr: float,
        t: int,
        mu: float,
    ) -> None:
        """Replace z = [Z of the weights, Z of each buffer] by mu A z + B; hz None stands for z = 0."""


@dataclass(frozen=True)
class SGD:
    """SGD with momentum, dampening, Nesterov's form and weight decay, as `torch.optim.SGD`.

    G = g + weight_decay w;  u' = momentum u + (1 - dampening) G, in the first step u' = G;
    direction = u' (Nesterov: G + momentum u'; without momentum: G);  w' = w - lr direction.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check_range("momentum", self.momentum, 0.0, None)
        _check_range("weight_decay", self.weight_decay, 0.0, None)
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise UnsupportedOptimizer("Nesterov momentum needs momentum > 0 and dampening = 0")

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()

    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.weight_decay:
            g = g + self.weight_decay * w
        if not self.momentum:
            return w - h["lr"] * g, ()
        u = g if t == 1 else self.momentum * buffers[0] + (1 - self.dampening) * g
        direction = g + self.momentum * u if self.nesterov else u
        return w - h["lr"] * direction, (u,)

    def regularised(self, g: Tensors, w: Tensors) -> Tensors:
        return _decayed(g, w, self.weight_decay)

    def tangent_(
        self,
        z: list[Tensors],
        w: Tensors,
        b: list[Tensors],
        g: Tensors,
        hz: Tensors | None,
        lr: float,
        t: int,
        mu: float,
    ) -> None:
        g = _decayed(g, w, self.weight_decay)
        if hz is not None:
            hz = _decayed(hz, z[0], self.weight_decay)
        gain = 1.0 if t == 1 else 1 - self.dampening
        if self.momentum:
            u = g
            if t > 1:
                u = list(torch._foreach_mul(b[0], self.momentum))
                torch._foreach_add_(u, g, alpha=gain)
            direction = list(torch._foreach_add(g, u, alpha=self.momentum)) if self.nesterov else u
        else:
            direction = g
        if hz is None:
            _negated_(z[0], direction)
            return
        if self.momentum:
            if t == 1:
                torch._foreach_zero_(z[1])
            else:
                torch._foreach_mul_(z[1], mu * self.momentum)
            torch._foreach_add_(z[1], hz, alpha=mu * gain)
        torch._foreach_mul_(z[0], mu)
        if not self.momentum:
            torch._foreach_sub_(z[0], hz, alpha=mu * lr)
        elif self.nesterov:
            torch._foreach_sub_(z[0], hz, alpha=mu * lr)
            torch._foreach_sub_(z[0], z[1], alpha=lr * self.momentum)
        else:
            torch._foreach_sub_(z[0], z[1], alpha=lr)
        torch._foreach_sub_(z[0], direction)


@dataclass(frozen=True)
class Adam:
    """Adam with coupled weight decay and eps outside the root, as `torch.optim.Adam`.

    G = g + weight_decay w;  m' = beta1 m + (1 - beta1) G;  v' = beta2 v + (1 - beta2) G^2;
    w' = w - lr (m' / (1 - beta1^t)) / (sqrt(v' / (1 - beta2^t)) + eps). With eps = 0 a weight whose v' is 0
    stays where it is (torch divides 0 by 0).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    buffers: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            _check_range(name, getattr(self, name), 0.0, 1.0)
        _check_range("eps", self.eps, 0.0, None)
        _check_range("weight_decay", self.weight_decay, 0.0, None)

    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.weight_decay:
            g = g + self.weight_decay * w
        m = self.beta1 * buffers[0] + (1 - self.beta1) * g
        v = self.beta2 * buffers[1] + (1 - self.beta2) * g * g
        bc1, bc2 = 1 - self.beta1**t, math.sqrt(1 - self.beta2**t)
        alive = v > 0
        root = torch.where(alive, v, torch.ones_like(v)).sqrt() / bc2
        moving = m / (root + self.eps)
        if self.eps:
            # exact zeros times the derivative: the forward value without a derivative in any mode
            still = m.detach() / self.eps
        else:
            still = torch.zeros_like(m)
        direction = torch.where(alive, moving, still) / bc1
        return w - h["lr"] * direction, (m, v)

    def regularised(self, g: Tensors, w: Tensors) -> Tensors:
        return _decayed(g, w, self.weight_decay)

    def tangent_(
        self,
        z: list[Tensors],
        w: Tensors,
        b: list[Tensors],
        g: Tensors,
        hz: Tensors | None,
        lr: float,
        t: int,
        mu: float,
    ) -> None:
        g = _decayed(g, w, self.weight_decay)
        bc1, bc2 = 1 - self.beta1**t, math.sqrt(1 - self.beta2**t)
        m = list(torch._foreach_mul(b[0], self.beta1))
        torch._foreach_add_(m, g, alpha=1 - self.beta1)
        v = list(torch._foreach_mul(b[1], self.beta2))
        torch._foreach_addcmul_(v, g, g, value=1 - self.beta2)
        root = torch._foreach_sqrt(v)
        denom = list(torch._foreach_div(root, bc2))
        torch._foreach_add_(denom, self.eps)
        direction = list(torch._foreach_div(m, denom))
        torch._foreach_div_(direction, bc1)
        for x, y in zip(direction, v, strict=True):
            if not self.eps:
                x.masked_fill_(y == 0, 0.0)
        if hz is None:
            _negated_(z[0], direction)
            return
        hz = _decayed(hz, z[0], self.weight_decay)
        torch._foreach_mul_(z[1], mu * self.beta1)
        torch._foreach_add_(z[1], hz, alpha=mu * (1 - self.beta1))
        torch._foreach_mul_(z[2], mu * self.beta2)
        torch._foreach_addcmul_(z[2], g, hz, value=2 * mu * (1 - self.beta2))
        # d direction = Z_m / (bc1 denom) - direction Z_v / (2 sqrt(v) bc2 denom)
        change = list(torch._foreach_div(z[1], bc1))
        slope = list(torch._foreach_div(z[2], root))
        torch._foreach_div_(slope, 2 * bc2)
        torch._foreach_addcmul_(change, direction, slope, value=-1.0)
        torch._foreach_div_(change, denom)
        for x, y in zip(change, v, strict=True):
            x.masked_fill_(y == 0, 0.0)
        torch._foreach_mul_(z[0], mu)
        torch._foreach_sub_(z[0], change, alpha=lr)
        torch._foreach_sub_(z[0], direction)


def jvp_tangent(
    rule: Rule,
    z: list[Tensors],
    w: Tensors,
    b: list[Tensors],
    g: Tensors,
    hz: Tensors,
    lr: float,
    t: int,
    mu: float,
) -> list[Tensors]:
    """The slow twin of `tangent_`: one jvp of `update` in direction (mu Z, 1), tensor by tensor."""
    out: list[Tensors] = [[] for _ in z]
    for i, weight in enumerate(w):
        state = tuple(x[i] for x in b)
        rate = torch.tensor(lr, dtype=weight.dtype, device=weight.device)

        def step(w: Tensor, state: tuple[Tensor, ...], g: Tensor, rate: Tensor) -> Any:
            return rule.update(w, state, g, {"lr": rate}, t)

        primals = (weight, state, g[i], rate)
        tangents = (mu * z[0][i], tuple(mu * x[i] for x in z[1:]), mu * hz[i], torch.ones_like(rate))
        moved: Any = torch.func.jvp(step, primals, tangents)
        dw, db = moved[1]
        for part, value in zip(out, (dw, *db), strict=True):
            part.append(value)
    return out


def adjoint(
    rule: Rule, a: list[Tensors], w: Tensors, b: list[Tensors], g: Tensors, lr: float, t: int
) -> tuple[list[Tensors], Tensors, Tensor]:
    """Reverse derivative of `update`.

    `a` holds the adjoints of (w', b'). Returns those of (w, b) at fixed g, of g, and of lr (a 0-dim
    float64 tensor).
    """
    state: list[Tensors] = [[] for _ in a]
    gradient: Tensors = []
    rate_adjoint = torch.zeros((), dtype=torch.float64, device=w[0].device)
    for i, weight in enumerate(w):
        buffers = tuple(x[i] for x in b)
        rate = torch.tensor(lr, dtype=torch.float64, device=weight.device)

        def step(w: Tensor, buffers: tuple[Tensor, ...], g: Tensor, rate: Tensor) -> Any:
            return rule.update(w, buffers, g, {"lr": rate}, t)

        pulled: Any = torch.func.vjp(step, weight, buffers, g[i], rate)
        dw, db, dg, dlr = pulled[1]((a[0][i], tuple(x[i] for x in a[1:])))
        for part, value in zip(state, (dw, *db), strict=True):
            part.append(value)
        gradient.append(dg)
        rate_adjoint = rate_adjoint + dlr
    return state, gradient, rate_adjoint


def from_optimizer(optimizer: torch.optim.Optimizer) -> Rule:
    """The rule of a torch optimizer with one parameter group.

    Raises UnsupportedOptimizer, with what to do, for optimizers and options that have no rule.
    """
    if len(optimizer.param_groups) != 1:
        raise UnsupportedOptimizer(
            f"the optimizer has {len(optimizer.param_groups)} parameter groups; one group is supported: "
            "pass all weights as one list"
        )
    group = optimizer.param_groups[0]
    for option in ("maximize", "amsgrad", "capturable", "differentiable", "decoupled_weight_decay"):
        if group.get(option):
            raise UnsupportedOptimizer(
                f"{type(optimizer).__name__} with {option}=True has no update rule here: set {option}=False"
            )
    kind = type(optimizer)
    if kind is torch.optim.SGD:
        return SGD(*(group[f.name] for f in fields(SGD)))
    if kind is torch.optim.Adam:
        beta1, beta2 = (float(x) for x in group["betas"])
        return Adam(beta1, beta2, group["eps"], group["weight_decay"])
    raise UnsupportedOptimizer(
        f"{kind.__name__} has no update rule here: use torch.optim.SGD or torch.optim.Adam"
    )


def as_rule(rule: Rule | torch.optim.Optimizer) -> Rule:
    """A rule as it is, a torch optimizer by its rule."""
    return from_optimizer(rule) if isinstance(rule, torch.optim.Optimizer) else rule


def _decayed(g: Tensors, w: Tensors, weight_decay: float) -> Tensors:
    return list(torch._foreach_add(g, w, alpha=weight_decay)) if weight_decay else g


def _negated_(target: Tensors, source: Tensors) -> None:
    for t, s in zip(target, source, strict=True):  # one pass over memory; copy and negate would be two
        torch.neg(s, out=t)


def _check_range(name: str, value: float, low: float, high: float | None) -> None:
    if not (math.isfinite(value) and value >= low and (high is None or value < high)):
        allowed = f"in [{low:g}, {high:g})" if high is not None else f"at least {low:g}"
        raise UnsupportedOptimizer(f"{name} must be a finite number {allowed}, not {value!r}")
