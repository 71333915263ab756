"""What rules have in common: their interface, and the derivatives of any of them through `torch.func`.

`jvp_tangent` and `vjp_adjoint` derive from `Rule.update` alone; they are the twins that fused derivatives are
tested against, and `vjp_adjoint` is the reverse derivative of rules that have no fused one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import is_number, shown
from adatune_lite.rules.pieces import pieces

Hyper = Mapping[str, float | Tensor]
Tensors = list[Tensor]
Adjoints = tuple[list[Tensors], Tensors, Tensor]


class UnsupportedOptimizer(ValueError):
    """An optimizer, or one of its options, has no rule here."""


@dataclass(frozen=True)
class Rule(ABC):
    """What sweeps and tuners know of a rule, which holds the settings of one optimizer."""

    @property
    @abstractmethod
    def buffers(self) -> tuple[str, ...]:
        """Names of the buffers in `optimizer.state[p]`, in the order in which `update` takes them."""

    @property
    @abstractmethod
    def hypers(self) -> tuple[str, ...]:
        """Names of the scalars that have a derivative: `lr`, and settings of the rule."""

    @abstractmethod
    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One step for one tensor; buffers before the first step are zeros.

        h holds `lr` and may hold any of `hypers`; those that it leaves out are the rule's own settings. It is
        element-wise in all tensors: values of h broadcast against them.
        """

    @abstractmethod
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
        name: str | None = "lr",
    ) -> None:
        """Replace z = [Z of the weights, Z of each buffer] by mu A z + B, in place.

        B is the derivative by the scalar `name` of `hypers`; None: by something that this step does not use,
        so that B = 0. hz is the Hessian-vector product with z[0]; None stands for z = 0, whatever z holds,
        and then `lr` writes z[0] alone (its B has no other part).
        """
        self.check_hyper(name)
        i, j = len(z), len(z) + len(b)
        for x in pieces([*z, *b, w, g, *([] if hz is None else [hz])]):
            part = None if hz is None else x[j + 2]
            self.piece_tangent_(x[:i], x[j], x[i:j], x[j + 1], part, lr, t, mu, name)

    @abstractmethod
    def piece_tangent_(
        self,
        z: list[Tensors],
        w: Tensors,
        b: list[Tensors],
        g: Tensors,
        hz: Tensors | None,
        lr: float,
        t: int,
        mu: float,
        name: str | None,
    ) -> None:
        """`tangent_` of a part of the state, in whole tensors; the name is one of `hypers` or None."""

    def adjoint(
        self, a: list[Tensors], w: Tensors, b: list[Tensors], g: Tensors, lr: float, t: int
    ) -> Adjoints:
        """See `rules.adjoint`."""
        return vjp_adjoint(self, a, w, b, g, lr, t)

    def check_hyper(self, name: str | None) -> None:
        """Raises ValueError for a name that is not in `hypers`."""
        if name is not None and name not in self.hypers:
            raise ValueError(f"{self} has no derivative by {name!r}: choose among {', '.join(self.hypers)}")


def adjoint(
    rule: Rule, a: list[Tensors], w: Tensors, b: list[Tensors], g: Tensors, lr: float, t: int
) -> Adjoints:
    """Reverse derivative of `update`.

    `a` holds the adjoints of (w', b') and is left as it is. Returns those of (w, b) at fixed g, which may
    share memory with `a`, of g, and of lr (a 0-dim float64 tensor).
    """
    return rule.adjoint(a, w, b, g, lr, t)


def vjp_adjoint(
    rule: Rule, a: list[Tensors], w: Tensors, b: list[Tensors], g: Tensors, lr: float, t: int
) -> Adjoints:
    """`adjoint` of any rule: one vjp of `update`, tensor by tensor."""
    state: list[Tensors] = [[] for _ in a]
    gradient: Tensors = []
    rate_adjoint = torch.zeros((), dtype=wide(w[0].device), device=w[0].device)
    for i, weight in enumerate(w):
        buffers = tuple(x[i] for x in b)
        rate = torch.tensor(lr, dtype=wide(weight.device), device=weight.device)

        def step(w: Tensor, buffers: tuple[Tensor, ...], g: Tensor, rate: Tensor) -> Any:
            return rule.update(w, buffers, g, {"lr": rate}, t)

        pulled: Any = torch.func.vjp(step, weight, buffers, g[i], rate)
        dw, db, dg, dlr = pulled[1]((a[0][i], tuple(x[i] for x in a[1:])))
        for part, value in zip(state, (dw, *db), strict=True):
            part.append(value)
        gradient.append(dg)
        rate_adjoint = rate_adjoint + dlr
    return state, gradient, rate_adjoint


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
    name: str | None = "lr",
) -> list[Tensors]:
    """The slow twin of `tangent_`: one jvp of `update` in direction (mu Z, 1), tensor by tensor."""
    rule.check_hyper(name)
    out: list[Tensors] = [[] for _ in z]
    for i, weight in enumerate(w):
        state = tuple(x[i] for x in b)
        # float64 whatever the weights are: 1 - beta2 would lose most of its digits
        value = lr if name in (None, "lr") else getattr(rule, name)
        scalar = torch.as_tensor(value, dtype=wide(weight.device), device=weight.device)

        def step(w: Tensor, state: tuple[Tensor, ...], g: Tensor, scalar: Tensor) -> Any:
            return rule.update(w, state, g, {"lr": lr, name: scalar} if name else {"lr": lr}, t)

        primals = (weight, state, g[i], scalar)
        tangents = (mu * z[0][i], tuple(mu * x[i] for x in z[1:]), mu * hz[i], torch.ones_like(scalar))
        moved: Any = torch.func.jvp(step, primals, tangents)
        dw, db = moved[1]
        for part, value in zip(out, (dw, *db), strict=True):
            part.append(value)
    return out


def wide(device: torch.device) -> torch.dtype:
    """The type of numbers and sums on a device: float64, or float32 where it has no float64 (Apple's)."""
    return torch.float32 if device.type == "mps" else torch.float64


def present(value: float | Tensor) -> bool:
    """Whether a term with this factor is there: a number that is not 0, or any tensor (it has a slope)."""
    return isinstance(value, Tensor) or value != 0


def root(value: float | Tensor) -> float | Tensor:
    """The square root of a number or a tensor."""
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)


def decayed(g: Tensors, w: Tensors, weight_decay: float) -> Tensors:
    """g + weight_decay w, g itself where there is no decay."""
    return list(torch._foreach_add(g, w, alpha=weight_decay)) if weight_decay else g


def gradient_tangent(
    z: list[Tensors], w: Tensors, hz: Tensors | None, weight_decay: float, mu: float, tuned: bool
) -> tuple[Tensors, float]:
    """(x, factor): factor x is the tangent of G = g + weight_decay w in direction mu z.

    tuned: weight_decay is what the derivative is taken by, so that w itself comes on top. Where hz is None
    all of z is set to 0.
    """
    if hz is None:
        for part in z:
            torch._foreach_zero_(part)
        hz = [torch.zeros_like(x) for x in w]
    hz = decayed(hz, z[0], weight_decay)
    if not tuned:
        return hz, mu
    hz = list(torch._foreach_mul(hz, mu))
    torch._foreach_add_(hz, w)
    return hz, 1.0


def negated_(target: Tensors, source: Tensors) -> None:
    """target = -source, in one pass over memory; copying and negating would be two."""
    for t, s in zip(target, source, strict=True):
        torch.neg(s, out=t)


def fill_where_zero_(target: Tensors, where: Tensors) -> None:
    """target = 0 where the other is exactly 0."""
    for x, y in zip(target, where, strict=True):
        x.masked_fill_(y == 0, 0.0)


def inner(a: Tensors, b: Tensors) -> Tensor:
    """Inner product over all tensors; those of single tensors are summed in float64."""
    dots = [torch.dot(x.reshape(-1), y.reshape(-1)) for x, y in zip(a, b, strict=True)]
    return torch.stack(dots).sum(dtype=wide(dots[0].device))


def check_range(name: str, value: float, low: float, high: float | None) -> None:
    """Raises UnsupportedOptimizer unless low <= value < high (None: finite)."""
    if not (is_number(value) and low <= value < (math.inf if high is None else high)):
        allowed = f"in [{low:g}, {high:g})" if high is not None else f"at least {low:g}"
        raise UnsupportedOptimizer(f"{name} must be a finite number {allowed}, not {shown(value)}")
