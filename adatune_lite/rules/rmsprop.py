"""RMSprop, as `torch.optim.RMSprop`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adatune_lite.rules.base import (
    Hyper,
    Rule,
    Tensors,
    check_range,
    decayed,
    fill_where_zero_,
    gradient_tangent,
    negated_,
    present,
)


@dataclass(frozen=True)
class RMSprop(Rule):
    """RMSprop with eps outside the root, momentum and coupled weight decay (not the centered form).

    G = g + weight_decay w;  v' = alpha v + (1 - alpha) G^2;  x = G / (sqrt(v') + eps);
    u' = momentum u + x;  w' = w - lr u' (without momentum: w' = w - lr x).

    Where v' is 0, x is a constant. With eps = 0 it is 0 there (torch divides 0 by 0). A rule with momentum 0
    keeps no buffer u, as in torch, and has no derivative by its momentum.
    """

    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, 0.0, 1.0)
        for name in ("eps", "weight_decay", "momentum"):
            check_range(name, getattr(self, name), 0.0, None)

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("square_avg", "momentum_buffer") if self.momentum else ("square_avg",)

    @property
    def hypers(self) -> tuple[str, ...]:
        optional = [name for name in ("eps", "momentum") if getattr(self, name)]
        return ("lr", "alpha", "weight_decay", *optional)

    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        alpha, eps = h.get("alpha", self.alpha), h.get("eps", self.eps)
        weight_decay = h.get("weight_decay", self.weight_decay)
        if present(weight_decay):
            g = g + weight_decay * w
        v = alpha * buffers[0] + (1 - alpha) * g * g
        alive = v > 0
        # without the inner where, reverse mode would multiply the zeros of the outer one by an infinite slope
        moving = g / (torch.where(alive, v, torch.ones_like(v)).sqrt() + eps)
        still = (g / eps).detach() if self.eps else torch.zeros_like(g)
        x = torch.where(alive, moving, still)
        if not self.momentum:
            return w - h["lr"] * x, (v,)
        u = h.get("momentum", self.momentum) * buffers[1] + x
        return w - h["lr"] * u, (v, u)

    def regularised(self, g: Tensors, w: Tensors) -> Tensors:
        return decayed(g, w, self.weight_decay)

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
        g = decayed(g, w, self.weight_decay)
        v = list(torch._foreach_mul(b[0], self.alpha))
        torch._foreach_addcmul_(v, g, g, value=1 - self.alpha)
        sqrt = list(torch._foreach_sqrt(v))
        denom = list(torch._foreach_add(sqrt, self.eps))
        x = list(torch._foreach_div(g, denom))
        if not self.eps:
            fill_where_zero_(x, v)
        direction = list(torch._foreach_add(x, b[1], alpha=self.momentum)) if self.momentum else x
        if hz is None and name == "lr":
            negated_(z[0], direction)
            return
        dg, by = gradient_tangent(z, w, hz, self.weight_decay, mu, name == "weight_decay")
        torch._foreach_mul_(z[1], mu * self.alpha)
        torch._foreach_addcmul_(z[1], g, dg, value=2 * by * (1 - self.alpha))
        if name == "alpha":
            torch._foreach_add_(z[1], b[0])
            torch._foreach_addcmul_(z[1], g, g, value=-1.0)
        # d x = (dG - x (Z_v / (2 sqrt(v)) + d eps)) / denom
        slope = list(torch._foreach_div(z[1], sqrt))
        torch._foreach_div_(slope, 2.0)
        if name == "eps":
            torch._foreach_add_(slope, 1.0)
        change = list(torch._foreach_mul(dg, by))
        torch._foreach_addcmul_(change, x, slope, value=-1.0)
        torch._foreach_div_(change, denom)
        fill_where_zero_(change, v)
        if self.momentum:
            torch._foreach_mul_(z[2], mu * self.momentum)
            torch._foreach_add_(z[2], change)
            if name == "momentum":
                torch._foreach_add_(z[2], b[1])
            change = z[2]
        torch._foreach_mul_(z[0], mu)
        torch._foreach_sub_(z[0], change, alpha=lr)
        if name == "lr":
            torch._foreach_sub_(z[0], direction)
