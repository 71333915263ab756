"""Steps without host synchronisation: rate, Delta and every decision stay on the device.

The recursion of `tuners.hypergradient` after its first step, which is an ordinary one with all checks and
leaves the optimizer's buffers behind. From then on, with the 0-dim tensors ok = (training loss and gradient
are finite) and good = ok and (outer loss and every Delta are finite),

    (w, b)  <-  Phi(w, b, lr)                                        where ok
    Z       <-  mu A Z + B                                           where good, 0 where ok alone
    lr      <-  min(lr_max, max(lr_min, lr - hyper_lr clip(Delta)))  where good

and all else as before, lr and Delta in float64; buffers of modules move where ok. Phi is the rule's own
`update`, equal to torch's step, in place of `optimizer.step()`, which could not be masked: hooks on that do
not run. Nothing is raised or logged; `failures` counts the steps in a row that were not good.

Settings of the optimizer must stay what they were at the first of these steps: a captured graph holds them.
A step after the first can be captured in a CUDA graph. Untested on CUDA; on the CPU it gives the ordinary
step's numbers, slower.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from adatune_lite.engine.closures import Closure, evaluate
from adatune_lite.engine.curvature import LossError, dot, gradient
from adatune_lite.rules import Rule, Tensors, jvp_tangent
from adatune_lite.rules.base import wide
from adatune_lite.tuners.gathered import finite, training_gradient
from adatune_lite.tuners.products import Gradients

if TYPE_CHECKING:
    from adatune_lite.tuners.hypergradient import MARTHE


class OnDevice:
    """The steps of a tuner after its first one; raises ValueError for options that need the host."""

    def __init__(self, tuner: MARTHE) -> None:
        if tuner._adaptive or tuner.every != 1 or {x.name for x in tuner._tuned} != {"lr"}:
            raise ValueError(
                "capturable=True tunes rates alone, at every step, under fixed mu and hyper_lr: "
                'tune=("lr",), every=1 and no "adaptive"'
            )
        self.tuner = tuner
        self._rules: list[Rule] = []
        """The rules of the first step on the device."""
        self._numbers: Tensor | None = None
        if wide(tuner._weights()[0].device) is not torch.float64:
            raise ValueError(
                "capturable=True keeps rates in float64, which the weights' device has not: leave it out"
            )
        one = torch.ones((), device="cpu")
        with warnings.catch_warnings():  # at its first jvp torch loads what warns of its own torch.jit.script
            warnings.simplefilter("ignore", FutureWarning)
            torch.func.jvp(torch.neg, (one,), (one,))

    def start(self) -> None:
        """Take up the tuner's numbers; in place from the second time on, as a captured graph needs."""
        tuner, tuned = self.tuner, self.tuner._tuned
        host = [*(x.value for x in tuned), *(x.hypergradient for x in tuned)]
        host += [tuner._used_lr, tuner._failures, tuner._steps, tuner._products]
        if self._numbers is None:
            where: Any = {"dtype": torch.float64, "device": tuner._weights()[0].device}
            self._numbers = torch.empty(len(host), **where)
            self.values, self.deltas = self._numbers[: 2 * len(tuned)].view(2, -1)
            self.rates = dict(zip((x.group for x in tuned), self.values, strict=True))
            self.used_lr, self.failures, self.steps, self.products = self._numbers[-4:]
            limits = [(x.low, x.high, x.hyper_lr) for x in tuned]
            self.low, self.high, self.hyper_lr = torch.tensor(limits, **where).T
            self.largest = min(torch.finfo(w.dtype).max for w in tuner._weights())
        self._numbers.copy_(torch.tensor(host, dtype=torch.float64, device="cpu"))

    def read(self) -> None:
        """Give the numbers to the tuner: the one place that waits for the device."""
        if self._numbers is None:
            return
        tuner, found = self.tuner, self._numbers.tolist()
        for k, x in enumerate(tuner._tuned):
            x.value, x.hypergradient = found[k], found[len(tuner._tuned) + k]
        tuner._lr, tuner._hypergradient = tuner._tuned[0].value, tuner._tuned[0].hypergradient
        tuner._used_lr = found[-4]
        tuner._failures, tuner._steps = (int(x) for x in found[-3:-1])
        tuner._products = found[-1]

    def step(self, train_loss: Closure | list[Closure], outer_loss: Closure) -> Tensor:
        """One step by the recursion above; returns the loss before it, finite or not."""
        if self._numbers is None:
            self.start()
        tuner, weights = self.tuner, self.tuner._weights()
        tuner._follow()
        self._rules = self._rules or list(tuner._rules)
        if self._rules != tuner._rules:
            raise ValueError(
                f"capturable=True keeps the optimizer's settings, which were {self._rules} and are now "
                f"{tuner._rules}: set them back, or leave out capturable=True"
            )
        for k, value in self.rates.items():
            tuner.optimizer.param_groups[k]["lr"] = value
        directions = [x.direction for x in tuner._tuned] if tuner.mu > 0 else []
        with tuner._guard() as guard:
            found = training_gradient(
                train_loss,
                weights,
                directions,
                finite=lambda loss, grads: True,
                model=tuner._network,
                hooks=tuner._hooks,
            )
        with torch.no_grad():
            ok = finite(found.loss, found.grads)
            guard.restore(keep=ok)
            self.steps.add_(ok)
            self.products.add_(ok, alpha=found.cost)
            grads, products = found.grads, found.products
            if tuner._clip:
                grads, products = tuner._clip(grads, products)
            tuner._set_gradients(weights, grads)
            grads, products = _dense(grads), [_dense(x) for x in products]
            tangents = self._tangents(weights, grads, products)
            self._advance(weights, grads, ok)
        with tuner._guard(tuner.outer_batchnorm) as guard:
            outer = evaluate(outer_loss, "outer_loss", weights, hooks=tuner._outer_hooks)
            slopes = gradient(outer, weights, what="outer_loss", hooks="skip")
        guard.restore()
        with torch.no_grad():
            self._move(outer, slopes, tangents, ok)
        return found.loss

    def _each(self, weights: Tensors, grads: Gradients) -> Any:
        """(number, group, number in the group, rule, weight, gradient, buffers, t) of each weight."""
        i = 0
        for k, rule in enumerate(self._rules):
            for n in range(len(self.tuner._tuned[0].z[k][0])):
                w, g = weights[i], grads[i]
                b, t = self._buffers(rule, w) if g is not None else ([], 0)
                yield i, k, n, rule, w, g, b, t
                i += 1

    def _buffers(self, rule: Rule, w: Tensor) -> tuple[Tensors, Any]:
        """The optimizer's buffers of a weight, and the number of its next step where that is kept."""
        state = self.tuner.optimizer.state[w]
        if any(name not in state for name in rule.buffers):
            raise LossError(
                "capturable=True needs a train_loss that uses in its first step all weights that it ever uses"
            )
        buffers = [state[name] for name in rule.buffers]
        if "step" not in state:
            return buffers, 2  # any but the first
        state["step"] = state["step"].to(w.device)
        return buffers, state["step"].double() + 1

    def _tangents(
        self, weights: Tensors, grads: Gradients, products: list[Gradients]
    ) -> list[list[list[Tensor]]]:
        """mu A Z + B: by value, weight, part."""
        mu = self.tuner.mu
        out: list[list[list[Tensor]]] = [[] for _ in self.tuner._tuned]
        for i, k, n, rule, w, g, b, t in self._each(weights, grads):
            for j, x in enumerate(self.tuner._tuned):
                z = [part[n] for part in x.z[k]]
                if g is None:  # A = I, B = 0
                    out[j].append([mu * part for part in z])
                    continue
                hz: Any = products[j][i] if products else torch.zeros_like(w)
                state = [z[0], *(z[1:] or map(torch.zeros_like, b))]
                lr: Any = self.rates[k]
                moved = jvp_tangent(
                    rule,
                    [[p] for p in state],
                    [w],
                    [[p] for p in b],
                    [g],
                    [hz],
                    lr,
                    t,
                    mu,
                    "lr" if x.group == k else None,
                )
                out[j].append([part[0] for part in moved[: len(z)]])
        return out

    def _advance(self, weights: Tensors, grads: Gradients, ok: Tensor) -> None:
        """Weights and the optimizer's buffers, where ok."""
        for _, k, _, rule, w, g, b, t in self._each(weights, grads):
            if g is None:
                continue
            after, buffers = rule.update(w, b, g, {"lr": self.rates[k]}, t)
            for old, new in zip((w, *b), (after, *buffers), strict=True):
                old.copy_(torch.where(ok, new, old))
            if "step" in self.tuner.optimizer.state[w]:
                self.tuner.optimizer.state[w]["step"].add_(ok)
        self.used_lr.copy_(torch.where(ok, self.values[0], self.used_lr))

    def _move(self, outer: Tensor, slopes: Gradients, tangents: list[list[list[Tensor]]], ok: Tensor) -> None:
        """Delta, the projected step of each rate, and Z."""
        tuner = self.tuner
        used = [i for i, g in enumerate(slopes) if g is not None]
        of_weights = [[parts[i][0] for i in used] for parts in tangents]
        deltas = torch.stack([dot([g for g in slopes if g is not None], z).double() for z in of_weights])
        good = ok & torch.isfinite(outer) & torch.isfinite(deltas).all()
        self.deltas.copy_(torch.where(ok, deltas, self.deltas))
        bound = tuner.clip_hypergradient
        moved = self.values - self.hyper_lr * deltas.clamp(-bound, bound)
        moved = torch.minimum(self.high, torch.maximum(self.low, moved))
        good &= (moved.abs() <= self.largest).all()
        self.values.copy_(torch.where(good, moved, self.values))
        self.failures.copy_(torch.where(good, 0.0, self.failures + 1))
        for x, parts in zip(tuner._tuned, tangents, strict=True):
            places = [[part[n] for part in group] for group in x.z for n in range(len(group[0]))]
            for old, new in zip(_flat(places), _flat(parts), strict=True):
                old.copy_(torch.where(good, new, torch.where(ok, 0.0, old)))


def _dense(x: Gradients) -> Gradients:
    """Tensors of their own memory: autograd returns one number, expanded, where all entries are equal."""
    return [g if g is None or 0 not in g.stride() else g.contiguous() for g in x]


def _flat(nested: list[list[Tensor]]) -> Tensors:
    return [x for parts in nested for x in parts]
