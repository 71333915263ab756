"""Adam and AdamW, as in `torch.optim`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adatune_lite.checks import truth
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
    root,
)


@dataclass(frozen=True)
class Adam(Rule):
    """Adam with eps outside the root, and weight decay coupled or (AdamW) decoupled.

    G = g + weight_decay w (decoupled: G = g);  m' = beta1 m + (1 - beta1) G;  v' = beta2 v + (1 - beta2) G^2;
    direction = (m' / (1 - beta1^t)) / (sqrt(v' / (1 - beta2^t)) + eps);
    w' = w - lr direction (decoupled: w' = (1 - lr weight_decay) w - lr direction).

    Where v' is 0 the direction is a constant. With eps = 0 it is 0 there (torch divides 0 by 0).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        check_range("eps", self.eps, 0.0, None)
        check_range("weight_decay", self.weight_decay, 0.0, None)
        truth("decoupled", self.decoupled)

    @property
    def buffers(self) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    @property
    def hypers(self) -> tuple[str, ...]:
        return ("lr", "beta1", "beta2", "weight_decay", *(("eps",) if self.eps else ()))

    @property
    def _coupled(self) -> float:
        return 0.0 if self.decoupled else self.weight_decay

    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        beta1, beta2 = h.get("beta1", self.beta1), h.get("beta2", self.beta2)
        eps, weight_decay = h.get("eps", self.eps), h.get("weight_decay", self.weight_decay)
        if present(weight_decay):
            if self.decoupled:
                w = (1 - h["lr"] * weight_decay) * w
            else:
                g = g + weight_decay * w
        m = beta1 * buffers[0] + (1 - beta1) * g
        v = beta2 * buffers[1] + (1 - beta2) * g * g
        bc1, bc2 = 1 - beta1**t, root(1 - beta2**t)
        alive = v > 0
        # without the inner where, reverse mode would multiply the zeros of the outer one by an infinite slope
        moving = m / (torch.where(alive, v, torch.ones_like(v)).sqrt() / bc2 + eps) / bc1
        still = (m / eps / bc1).detach() if self.eps else torch.zeros_like(m)
        return w - h["lr"] * torch.where(alive, moving, still), (m, v)

    def regularised(self, g: Tensors, w: Tensors) -> Tensors:
        return decayed(g, w, self._coupled)

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
        decoupled = self.weight_decay if self.decoupled else 0.0
        g = decayed(g, w, self._coupled)
        bc1, bc2 = 1 - self.beta1**t, math.sqrt(1 - self.beta2**t)
        m = list(torch._foreach_mul(b[0], self.beta1))
        torch._foreach_add_(m, g, alpha=1 - self.beta1)
        v = list(torch._foreach_mul(b[1], self.beta2))
        torch._foreach_addcmul_(v, g, g, value=1 - self.beta2)
        sqrt = list(torch._foreach_sqrt(v))
        denom = list(torch._foreach_div(sqrt, bc2))
        torch._foreach_add_(denom, self.eps)
        direction = list(torch._foreach_div(m, denom))
        torch._foreach_div_(direction, bc1)
        if not self.eps:
            fill_where_zero_(direction, v)
        if hz is None and name == "lr":
            negated_(z[0], direction)
            if decoupled:
                torch._foreach_sub_(z[0], w, alpha=decoupled)
            return
        dg, by = gradient_tangent(z, w, hz, self._coupled, mu, name == "weight_decay" and not self.decoupled)
        torch._foreach_mul_(z[1], mu * self.beta1)
        torch._foreach_add_(z[1], dg, alpha=by * (1 - self.beta1))
        torch._foreach_mul_(z[2], mu * self.beta2)
        torch._foreach_addcmul_(z[2], g, dg, value=2 * by * (1 - self.beta2))
        if name == "beta1":
            torch._foreach_add_(z[1], b[0])
            torch._foreach_sub_(z[1], g)
        if name == "beta2":
            torch._foreach_add_(z[2], b[1])
            torch._foreach_addcmul_(z[2], g, g, value=-1.0)
        # d direction = Z_m / (bc1 denom) - direction d denom / denom - direction d bc1 / bc1
        # with d denom = Z_v / (2 sqrt(v) bc2) - sqrt(v) d bc2 / bc2^2 + d eps
        change = list(torch._foreach_div(z[1], bc1))
        slope = list(torch._foreach_div(z[2], sqrt))
        torch._foreach_div_(slope, 2 * bc2)
        if name == "beta2":
            torch._foreach_add_(slope, sqrt, alpha=t * self.beta2 ** (t - 1) / (2 * bc2**3))
        if name == "eps":
            torch._foreach_add_(slope, 1.0)
        torch._foreach_addcmul_(change, direction, slope, value=-1.0)
        torch._foreach_div_(change, denom)
        if name == "beta1":
            torch._foreach_add_(change, direction, alpha=t * self.beta1 ** (t - 1) / bc1)
        fill_where_zero_(change, v)
        torch._foreach_mul_(z[0], mu * (1 - lr * decoupled))
        torch._foreach_sub_(z[0], change, alpha=lr)
        if name == "lr":
            torch._foreach_sub_(z[0], direction)
            if decoupled:
                torch._foreach_sub_(z[0], w, alpha=decoupled)
        if name == "weight_decay" and self.decoupled:
            torch._foreach_sub_(z[0], w, alpha=lr)


def AdamW(beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 1e-2) -> Adam:
    """Adam with decoupled weight decay, with the settings that `torch.optim.AdamW` has by default."""
    return Adam(beta1, beta2, eps, weight_decay, decoupled=True)
