"""Stochastic gradient descent, as `torch.optim.SGD`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adatune_lite.checks import truth
from adatune_lite.rules.base import (
    Adjoints,
    Hyper,
    Rule,
    Tensors,
    UnsupportedOptimizer,
    check_range,
    decayed,
    gradient_tangent,
    inner,
    negated_,
    present,
)


@dataclass(frozen=True)
class SGD(Rule):
    """SGD with momentum, dampening, Nesterov's form, weight decay and maximize.

    G = g + weight_decay w (maximize: -g + weight_decay w);
    u' = momentum u + (1 - dampening) G, in the first step u' = G;
    direction = u' (Nesterov: G + momentum u'; without momentum: G);  w' = w - lr direction.

    A rule with momentum 0 keeps no buffer, as in torch, and has no derivative by its momentum.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False

    def __post_init__(self) -> None:
        check_range("momentum", self.momentum, 0.0, None)
        check_range("dampening", self.dampening, -math.inf, None)
        check_range("weight_decay", self.weight_decay, 0.0, None)
        truth("nesterov", self.nesterov)
        truth("maximize", self.maximize)
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise UnsupportedOptimizer("Nesterov momentum needs momentum > 0 and dampening = 0")

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("momentum_buffer",) if self.momentum else ()

    @property
    def hypers(self) -> tuple[str, ...]:
        of_momentum = ("momentum",) if self.nesterov else ("momentum", "dampening")
        return ("lr", "weight_decay", *(of_momentum if self.momentum else ()))

    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        weight_decay = h.get("weight_decay", self.weight_decay)
        g = -g if self.maximize else g
        if present(weight_decay):
            g = g + weight_decay * w
        if not self.momentum:
            return w - h["lr"] * g, ()
        momentum, gain = h.get("momentum", self.momentum), 1 - h.get("dampening", self.dampening)
        u = g if t == 1 else momentum * buffers[0] + gain * g
        direction = g + momentum * u if self.nesterov else u
        return w - h["lr"] * direction, (u,)

    def regularised(self, g: Tensors, w: Tensors) -> Tensors:
        return decayed(self._signed(g), w, self.weight_decay)

    def _signed(self, g: Tensors) -> Tensors:
        return list(torch._foreach_neg(g)) if self.maximize else g

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
        g = self.regularised(g, w)
        gain = 1.0 if t == 1 else 1 - self.dampening
        if self.momentum:
            u = g
            if t > 1:
                u = list(torch._foreach_mul(b[0], self.momentum))
                torch._foreach_add_(u, g, alpha=gain)
            direction = list(torch._foreach_add(g, u, alpha=self.momentum)) if self.nesterov else u
        else:
            direction = g
        if hz is None and name == "lr":
            negated_(z[0], direction)
            return
        hz = None if hz is None else self._signed(hz)
        dg, by = gradient_tangent(z, w, hz, self.weight_decay, mu, name == "weight_decay")
        if self.momentum:
            if t == 1:
                torch._foreach_zero_(z[1])
            else:
                torch._foreach_mul_(z[1], mu * self.momentum)
            torch._foreach_add_(z[1], dg, alpha=by * gain)
            if name == "momentum" and t > 1:
                torch._foreach_add_(z[1], b[0])
            if name == "dampening" and t > 1:
                torch._foreach_sub_(z[1], g)
        torch._foreach_mul_(z[0], mu)
        if not self.momentum:
            torch._foreach_sub_(z[0], dg, alpha=by * lr)
        elif self.nesterov:
            torch._foreach_sub_(z[0], dg, alpha=by * lr)
            torch._foreach_sub_(z[0], z[1], alpha=lr * self.momentum)
            if name == "momentum":
                torch._foreach_sub_(z[0], u, alpha=lr)
        else:
            torch._foreach_sub_(z[0], z[1], alpha=lr)
        if name == "lr":
            torch._foreach_sub_(z[0], direction)

    def adjoint(
        self, a: list[Tensors], w: Tensors, b: list[Tensors], g: Tensors, lr: float, t: int
    ) -> Adjoints:
        """With a_d = -lr a_w' the adjoint of the direction d, backwards through u' and G:

        s = a_u' + a_d (Nesterov: a_u' + momentum a_d);  a_u = momentum s, in the first step 0;
        a_G = gain s (Nesterov: + a_d);  a_w = a_w' + weight_decay a_G;  a_g = +-a_G;  a_lr = -<a_w', d>.
        """
        g = self._signed(g)
        carry, gain = (0.0, 1.0) if t == 1 else (self.momentum, 1 - self.dampening)
        if not self.momentum:
            buffers, a_g = [], list(torch._foreach_mul(a[0], -lr))
            on_g, on_u = 1.0, 0.0  # d = on_g G + on_u u
        else:
            through = self.momentum if self.nesterov else 1.0
            on_g, on_u = through * gain + self.nesterov, through * carry
            a_g = list(torch._foreach_add(a[1], a[0], alpha=-lr * through))
            buffers = [list(torch._foreach_mul(a_g, carry))]
            if gain != 1:
                torch._foreach_mul_(a_g, gain)
            if self.nesterov:
                torch._foreach_sub_(a_g, a[0], alpha=lr)
        along = on_g * inner(a[0], g)
        if self.weight_decay:
            along = along + on_g * self.weight_decay * inner(a[0], w)
        if on_u:
            along = along + on_u * inner(a[0], b[0])
        return [decayed(a[0], a_g, self.weight_decay), *buffers], self._signed(a_g), -along
