"""MARTHE and HD as the public AdaTune computes them, each deviation switched on by name; for comparison only.

Re-derived from the formulas of awslabs/adatune (commit aecbc49, files `mu_sgd.py`, `mu_adam.py`,
`hd_adam.py`); without faults, the tuners here are `MARTHE` and `HD`. With G = g + weight_decay w,
J = H Z + weight_decay Z_w, m' and v' the moments after the step, c = sqrt(1 - beta2^t) / (1 - beta1^t) and
d = sqrt(v') + eps sqrt(1 - beta2^t), the exact tangent of Adam is

    Z_m' = mu (beta1 Z_m + (1 - beta1) J),    Z_v' = mu (beta2 Z_v + 2 (1 - beta2) G J),
    Z_w' = mu Z_w - lr c (Z_m' / d - m' Z_v' / (2 sqrt(v') d^2)) - c m' / d.

`FAULTS` says what each name changes in it. Nothing uses this module but experiments 02 and 09.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from adatune_lite.engine.closures import Closure
from adatune_lite.engine.curvature import gradient
from adatune_lite.rules import SGD, Adam, Rule, Tensors
from adatune_lite.rules.base import Hyper, decayed, fill_where_zero_
from adatune_lite.tuners.hd import HD
from adatune_lite.tuners.hypergradient import MARTHE
from adatune_lite.tuners.products import Gradients, inner_product

TANGENT = {
    "frozen_lr": "A is taken at the first rate, whatever the rate is now",
    "no_decay": "the tangent leaves weight decay out, the optimizer does not",
    "first_step_skipped": "the first step is left out of Z (optimizers with buffers)",
    "clipped_products": "entries of H Z and of the outer gradient are clipped as those of g are",
}
ADAM = {
    "lost_identity": "a bracket: the curvature's factor is 1 - lr c in place of -lr c, and mu Z_w is lost",
    "stale_moments": "m, v and c of the step before, with the present g and H Z",
    "eps_inside": "d = sqrt(v' + eps), in the tangent alone",
}
STEP = {
    "no_projection": "nothing keeps the rate from falling below 0",
    "float32_lr": "the rate is a float32 number: smaller steps vanish",
    "outer_statistics": "BatchNorm takes the statistics of outer batches up",
}
ADAPTIVE = {
    "mu_rule": "q is the new rate over grad E . g, in place of a ratio of hypergradients",
    "memory_rule": "c <- c sign(mu) + mu in place of (c + 1) mu",
    "hyper_lr_rule": "hyper_lr moves by alpha Delta lr in place of alpha Delta_t Delta_{t-1}",
}
FIRST_STEPS = {
    "first_unclipped": "the first gradient is not clipped",
    "negative_start": "an adaptive mu starts at -0.99999, which enters c once: then z to the power of 1e5",
}
FAULTS = {**TANGENT, **ADAM, **STEP, **ADAPTIVE, **FIRST_STEPS}
"""What differs from the definition, by name.

Two more stand elsewhere: the outer gradient on the test set is the script's (the run function `published`
has it as "outer_on_test" and "outer_on_all_test"), and HD for Adam moves the rate between two tensors of one
step (`RatePerTensorHD`).

Of the list in FACTS 3.3 these are missing:

- 10, its second half: the script chooses the model on the test set, too. That is a reading of records.
- 14 and 16 to 18 change cost, memory and reports, 20 is HD and MARTHE as they are here, and 21 is of the
  baselines.
"""


class AdaTune(MARTHE):
    """MARTHE with any of `FAULTS`.

    optimizer: `torch.optim.SGD` (no dampening, no Nesterov) or `Adam`, one group; its rate is tuned.
    faults: names from FAULTS; those of ADAM ask for Adam, those of ADAPTIVE for what they adapt.
    options: as MARTHE has them, without `tune`, `adapt_rule`, `scaler` and `capturable`.

    Raises ValueError for a name that does not exist or does not apply.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        mu: float | str = 0.99999,
        hyper_lr: float | str = 1e-8,
        *,
        faults: Sequence[str] = (),
        **options: Any,
    ) -> None:
        for name in ("tune", "adapt_rule", "scaler", "capturable"):
            if name in options:
                raise ValueError(f"AdaTune has no {name!r}: it tunes the rate, by the rules of its faults")
        super().__init__(optimizer, mu, hyper_lr, **options)
        self.faults = frozenset(faults)
        self._settings["faults"] = sorted(self.faults)
        bound = options.get("clip_grad_value")
        self._bound = math.inf if bound is None else float(bound)
        self._check(optimizer)
        if "no_projection" in self.faults:
            self._lowest_lr = -math.inf
            self._tuned[0].low = -math.inf
        if "float32_lr" in self.faults:  # a rate on its bound, rounded, stays within it
            x = self._tuned[0]
            x.low, x.high = _single(x.low), _single(x.high)
        if self._adaptive:
            for fault in self.faults & set(ADAPTIVE):
                setattr(self._adaptive, fault, "adatune")
            if "negative_start" in self.faults:
                self.mu = -0.99999
        self._first_lr = self._lr
        self._rules = [self._rule(group) for group in optimizer.param_groups]
        self._write()

    def _rule(self, group: dict[str, Any]) -> Rule:
        return Published(super()._rule(group), self.faults, self._first_lr)

    def _check(self, optimizer: torch.optim.Optimizer) -> None:
        rule = self._rules[0]
        for name in sorted(self.faults):
            if name not in FAULTS:
                raise ValueError(f"unknown fault {name!r}: choose among {', '.join(FAULTS)}")
            if name in ADAM and not isinstance(rule, Adam):
                raise ValueError(f"the fault {name!r} is one of Adam's tangent, not of {rule}")
            adapts = self._adaptive and (
                self._adaptive.alpha is not None if name == "hyper_lr_rule" else self._adaptive.adapts_mu
            )
            if name in (*ADAPTIVE, "negative_start") and not adapts:
                what = "hyper_lr" if name == "hyper_lr_rule" else "mu"
                raise ValueError(f'the fault {name!r} needs {what}="adaptive"')
            if name in ("clipped_products", "first_unclipped") and math.isinf(self._bound):
                raise ValueError(f"the fault {name!r} needs clip_grad_value, the bound of the entries")
        plain = isinstance(rule, SGD) and not (rule.nesterov or rule.dampening)
        coupled = isinstance(rule, Adam) and not rule.decoupled
        if len(optimizer.param_groups) != 1 or not (plain or coupled):
            raise ValueError("AdaTune is for one group of SGD without dampening or Nesterov, or of Adam")

    def step(self, train_loss: Closure | list[Closure], outer_loss: Closure | None = None) -> Tensor:
        if self._steps or "first_unclipped" not in self.faults:
            return super().step(train_loss, outer_loss)
        clip, self._clip = self._clip, None
        try:
            return super().step(train_loss, outer_loss)
        finally:
            self._clip = clip

    def _carry(self, weights: Tensors, grads: Gradients, products: Sequence[Gradients]) -> Gradients:
        if self._steps == 0 and self._rules[0].buffers and "first_step_skipped" in self.faults:
            return [None] * len(weights)
        if "clipped_products" in self.faults:
            products = [self._bounded(x) for x in products]
        return super()._carry(weights, grads, products)

    def _bounded(self, x: Gradients) -> Gradients:
        return [None if g is None else g.clamp(-self._bound, self._bound) for g in x]

    def _outer_step(self, outer_loss: Closure, weights: Tensors, slope: Gradients) -> bool:
        if "outer_statistics" not in self.faults:
            return super()._outer_step(outer_loss, weights, slope)
        with self._guard():
            outer = self._outer(outer_loss, weights)
            grads = gradient(outer, weights, what="outer_loss")
        self._move(grads, "outer_loss or the hypergradient", math.isfinite(float(outer.detach())), slope)
        return False

    def _move(
        self,
        outer: Gradients,
        what: str,
        finite: bool = True,
        slope: Gradients | None = None,
        deltas: Sequence[float] = (),
    ) -> None:
        if "clipped_products" in self.faults:
            outer, deltas = self._bounded(outer), ()
        super()._move(outer, what, finite, slope, deltas)

    def _write(self) -> None:
        if "float32_lr" in getattr(self, "faults", ()):
            self._tuned[0].value = _single(self._tuned[0].value)
        super()._write()


def _single(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32, device="cpu"))


@dataclass(frozen=True)
class Published(Rule):
    """A rule whose tangent has the faults; its step is the exact one."""

    exact: Rule
    faults: frozenset[str]
    first_lr: float

    @property
    def buffers(self) -> tuple[str, ...]:
        return self.exact.buffers

    @property
    def hypers(self) -> tuple[str, ...]:
        return self.exact.hypers

    def update(
        self, w: Tensor, buffers: Sequence[Tensor], g: Tensor, h: Hyper, t: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.exact.update(w, buffers, g, h, t)

    def regularised(self, g: Tensors, w: Tensors) -> Tensors:
        return self.exact.regularised(g, w)

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
        rule: Any = self.exact
        if "no_decay" in self.faults:
            rule = replace(rule, weight_decay=0.0)
        if "frozen_lr" in self.faults:
            lr = self.first_lr
        if self.faults & set(ADAM):
            _adam(rule, self.faults, z, w, b, g, hz, lr, t, mu)
        else:
            rule.piece_tangent_(z, w, b, g, hz, lr, t, mu, name)


def _adam(
    rule: Adam,
    faults: frozenset[str],
    z: list[Tensors],
    w: Tensors,
    b: list[Tensors],
    g: Tensors,
    hz: Tensors | None,
    lr: float,
    t: int,
    mu: float,
) -> None:
    """Adam's tangent, tensor by tensor, as the module writes it; without faults that of `Adam`."""
    stale = "stale_moments" in faults
    if stale and t == 1:  # nothing has been seen before
        for part in z:
            torch._foreach_zero_(part)
        return
    number = t - 1 if stale else t
    bc1, bc2 = 1 - rule.beta1**number, math.sqrt(1 - rule.beta2**number)
    c = bc2 / bc1
    decay = rule.weight_decay
    for i, big_g in enumerate(decayed(g, w, decay)):
        m, v = b[0][i], b[1][i]
        if not stale:
            m, v = rule.beta1 * m + (1 - rule.beta1) * big_g, rule.beta2 * v + (1 - rule.beta2) * big_g**2
        inside = "eps_inside" in faults
        d = (v + rule.eps).sqrt() if inside else v.sqrt() + rule.eps * bc2
        direct = c * m / d
        if hz is None:
            z[0][i].copy_(-direct)
            continue
        slope = m / (2 * d**3 if inside else 2 * v.sqrt() * d**2)
        j = hz[i] + decay * z[0][i]
        if "lost_identity" in faults:
            past = -lr * c * (rule.beta1 * z[1][i] / d - slope * rule.beta2 * z[2][i])
            curved = (1 - rule.beta1) / d - slope * 2 * (1 - rule.beta2) * big_g
            moved = mu * past, mu * (1 - lr * c) * curved * j
        else:
            z_m = rule.beta1 * z[1][i] + (1 - rule.beta1) * j
            z_v = rule.beta2 * z[2][i] + 2 * (1 - rule.beta2) * big_g * j
            moved = mu * z[0][i], -mu * lr * c * (z_m / d - slope * z_v)
        change = moved[1]
        if not inside:
            fill_where_zero_([change], [v])
        z[1][i].mul_(rule.beta1).add_(j, alpha=1 - rule.beta1).mul_(mu)
        z[2][i].mul_(rule.beta2).addcmul_(big_g, j, value=2 * (1 - rule.beta2)).mul_(mu)
        z[0][i].copy_(moved[0] + change - direct)


class RatePerTensorHD(HD):
    """HD whose rate moves between the tensors of one step, as the published HD for Adam does.

    Tensor i is stepped with lr - hyper_lr (g . B_{t-1} over the tensors up to i), without projection between.
    """

    def _move(
        self,
        outer: Gradients,
        what: str,
        finite: bool = True,
        slope: Gradients | None = None,
        deltas: Sequence[float] = (),
    ) -> None:
        self._settle()
        x = self._tuned[0]
        parts = [inner_product([g], [z]) for g, z in zip(outer, x.direction, strict=True)]
        rates = [x.value - x.hyper_lr * sum(parts[: i + 1]) for i in range(len(parts))]
        super()._move(outer, what, finite, slope, deltas)
        if not self._failures:
            self._rates = rates

    def _optimizer_step(self, weights: Sequence[Tensor], grads: Sequence[Tensor | None]) -> None:
        rates = self.__dict__.pop("_rates", None)
        if rates is None:  # the first step
            super()._optimizer_step(weights, grads)
            return
        for i, rate in enumerate(rates):
            alone = [g if k == i else None for k, g in enumerate(grads)]
            self._set_gradients(weights, alone)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        self._write()
        self._used_lr = self._lr
