"""MARTHE: online learning rates from a discounted forward hypergradient.

One recursion (MARTHE, arXiv 1910.08525; mu = 1: RTHO, arXiv 1703.01785; mu = 0: HD, see `tuners.hd`):

    Z_0 = 0,    Z_{t+1} = mu A_t Z_t + B_t,    Delta = grad E(w_{t+1}) . Z_{t+1}
    lr_{t+1} = min(lr_max, max(lr_min, lr_t - hyper_lr Delta))

where A_t and B_t are the derivatives of the optimizer's whole step with respect to its state (weights and
buffers) and to the rate. Order of one step: gradient at w_t; Z_{t+1} at lr_t; optimizer step; Delta; new
rate. Any other scalar of the optimizer (`Rule.hypers`) is tuned in the same way, with a Z and a product of
its own; so is each parameter group. What is not tuned may change between steps, by a scheduler of torch or by
hand: each step is differentiated with the settings that the optimizer has then.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import is_count
from adatune_lite.engine.closures import Closure, evaluate
from adatune_lite.engine.curvature import LossError, gradient
from adatune_lite.engine.graph import HookPolicy
from adatune_lite.rules import Rule, Tensors, group_rule
from adatune_lite.tuners import state as tuned_state
from adatune_lite.tuners.adaptive import START, Adaptive, adaptive
from adatune_lite.tuners.arguments import check_arguments
from adatune_lite.tuners.base import Diverged, Tuner
from adatune_lite.tuners.clipping import clipping
from adatune_lite.tuners.device import OnDevice
from adatune_lite.tuners.products import Gradients, chosen, copied, inner_product
from adatune_lite.tuners.scaling import Scaling
from adatune_lite.tuners.snapshot import cuda_devices
from adatune_lite.tuners.stepping import check_step, expected, nothing_else_moves
from adatune_lite.tuners.tuned import Key, PerName, Tuned, choose

LOOKS, MOST_LOST = 6, 4
"""A training ends as diverged where Delta was lost at so many of the last looks, not only twice in a row."""


class MARTHE(Tuner):
    """Discounted forward hypergradient, 0 <= mu <= 1.

    optimizer: `torch.optim.SGD`, `Adam`, `AdamW` or `RMSprop`; its settings are the start.
    mu: discount per step of the past in Z; or "adaptive".
    hyper_lr: step of a value against its Delta, >= 0 (unit: value squared per loss); a number for all, or a
        mapping of names, or of (group, name), to numbers; or "adaptive".
    tune: names of what is tuned, in each parameter group that has weights to train: "lr", "momentum",
        "weight_decay", "beta1" ...; each value costs a product per step. A momentum that reaches 0 becomes
        the smallest number above it, so that torch keeps its buffer.
    bounds: (low, high) by name or by (group, name), to which values are projected.
    lr_min, lr_max: the same for all rates; lr_max None is no upper bound.
    clip_hypergradient: bound on |Delta| in the update of a value; `hypergradient` stays raw.
    clip_grad_value, clip_grad_norm: bound of the training gradient's entries, or of its norm over all groups,
        as in `torch.nn.utils`; a part of the step, so that Z goes through it.
    adapt_rule, alpha: see `tuners.adaptive`; for one rate in one group, at every step.
    outer_batchnorm: "batch" (exact: the outer batch's own statistics) or "running" (an approximation, since
        running statistics are a state that Z does not carry).
    every: values move at every `every`-th step, the first asks for the outer loss too; Z moves at each.
    product_every: the Hessian counts at every `product_every`-th step, and as 0 in A between: Z keeps the
        optimizer's momentum and decay. Cheaper and biased. `PartialProduct` is the other way to save.
    scaler: a `torch.amp.GradScaler`, for float16 autocast in the closures; the tuner scales, unscales and
        calls its `update()`, closures return plain losses. See `tuners.scaling`.
    capturable: keep rate, Delta and all decisions on the device, without synchronisation: after the first
        step what is not finite is masked and raises nothing. See `tuners.device`.
    check_symmetry: whether the first product with a Z is tested for symmetry, for one product more, which is
        not counted: a function with a wrong second derivative is refused. Not with capturable.
    model: the network, where closures change its buffers in ways that no hook on a module sees: functional
        normalisation, a direct call of `forward`, a traced copy. They then go back as others do; the mode of
        such a normalisation is the closure's.

    A saved state is refused where settings differ; numbers of hyper_lr and bounds that hold the values may.
    Raises ValueError for arguments out of range, UnsupportedOptimizer for an optimizer without a rule.
    """

    needs = "gradient"
    _dense = True
    _derives = True

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        mu: float | str = 0.99,
        hyper_lr: float | str | PerName = 1e-6,
        *,
        tune: Sequence[str] = ("lr",),
        bounds: PerName | None = None,
        lr_min: float = 0.0,
        lr_max: float | None = None,
        clip_hypergradient: float | None = None,
        clip_grad_value: float | None = None,
        clip_grad_norm: float | None = None,
        adapt_rule: str = "marthe_tf",
        alpha: float | None = None,
        outer_batchnorm: str = "batch",
        every: int = 1,
        product_every: int = 1,
        scaler: torch.amp.GradScaler | None = None,
        capturable: bool = False,
        model: torch.nn.Module | None = None,
        check_symmetry: bool = True,
    ) -> None:
        super().__init__(optimizer)
        self._settings = check_arguments(
            *(mu, hyper_lr, adapt_rule, alpha, clip_hypergradient, clip_grad_value, clip_grad_norm),
            *(outer_batchnorm, every, product_every, scaler, capturable, model, check_symmetry),
        )
        self._network = model
        self._adaptive: Adaptive | None = adaptive(mu, hyper_lr, adapt_rule, alpha)
        self.mu = 0.0 if isinstance(mu, str) else float(mu)
        self._has_past = mu == "adaptive" or self.mu > 0
        """Whether Z may reach back further than the last step."""
        self._hooks = HookPolicy("look" if self._has_past else "run")
        """What backward hooks may do in the training gradient: a product has no derivative of theirs."""
        self._outer_hooks = HookPolicy("skip")
        self._symmetry_due = check_symmetry
        self._tuned, self._rules = choose(
            optimizer,
            tune,
            START if hyper_lr == "adaptive" else hyper_lr,
            bounds,
            lr_min,
            lr_max,
            self._has_past,
        )
        if self._adaptive and ([x.name for x in self._tuned] != ["lr"] or every > 1):
            raise ValueError('"adaptive" is for tune=("lr",), one parameter group and every=1')
        self._groups = [self._settings_of(group) for group in optimizer.param_groups]
        self._clip = clipping(clip_grad_value, clip_grad_norm)
        self.clip_hypergradient = math.inf if clip_hypergradient is None else float(clip_hypergradient)
        self.outer_batchnorm, self.every, self.product_every = outer_batchnorm, int(every), int(product_every)
        self._moved = False
        self._lost = 0
        """How many steps in a row, of those that look for Delta, have found none."""
        self._lost_of_last: list[bool] = []
        """Whether Delta was lost at the last looks, the latest last. One that found it because the past had
        just been forgotten, so that no product was needed, says nothing and is left out."""
        self._multiplied = False
        """Whether a product was taken since the last look."""
        self._scaling = Scaling(scaler, self._weights())
        self._device = OnDevice(self) if capturable else None
        self._write()  # the optimizer changes once nothing can be refused any more
        self._used_lr = self._lr

    @property
    def hyper_lr(self) -> float:
        """The step of the first tuned value."""
        return self._tuned[0].hyper_lr

    @property
    def values(self) -> dict[Key, float]:
        self._read()
        return {(x.group, x.name): x.value for x in self._tuned}

    @property
    def hypergradients(self) -> dict[Key, float]:
        self._read()
        return {(x.group, x.name): x.hypergradient for x in self._tuned}

    def step(self, train_loss: Closure | list[Closure], outer_loss: Closure | None = None) -> Tensor:
        if outer_loss is None:
            raise LossError(
                f"{type(self).__name__} needs outer_loss: a function without arguments that returns the loss "
                "on validation data"
            )
        if self._device and self._steps:
            return self._device.step(train_loss, outer_loss)
        weights = self._weights()
        self._follow()
        with self._refusable(weights):
            directions, symmetric = self._directions(), self._symmetry_due and self._moved
            found = self._gathered(
                train_loss, weights, directions, hooks=self._hooks, symmetric=symmetric and bool(directions)
            )
            if not found.finite:
                return found.loss
            self._symmetry_due &= not found.products or not symmetric
            self._multiplied |= self._moved and bool(found.products)
            grads, products = found.grads, found.products if self.mu > 0 and self._moved else []
            if self.mu > 0 and self._moved and not products:  # a step between two products
                flat = [None if g is None else torch.zeros_like(g) for g in grads]
                products = [flat] * len(self._tuned)
            if self._clip:
                grads, products = self._clip(grads, products)
            slope = self._carry(weights, grads, products)
            if self._adaptive and self._adaptive.mu_rule == "adatune":
                slope = copied(found.grads)  # the step may write there
            found.products.clear()  # room for the optimizer's step and the outer gradient
            products.clear()
            self._optimizer_step(weights, grads)
            self._steps += 1
            overflow = False
            if self._steps % self.every == 0:
                overflow = self._outer_step(outer_loss, weights, slope)
            else:
                self._failures = 0
                if self._steps == 1 and not self._outer_trusted:  # not due, but refused now if at all
                    self._try_outer(outer_loss, weights)
            self._scaling.update(overflow)
        return found.loss

    def _read(self) -> None:
        if self._device:
            self._device.read()

    def _weights(self) -> list[Tensor]:
        weights = super()._weights()
        same = len(weights) == len(self._trained) and all(map(operator.is_, weights, self._trained))
        if not same or len(self.optimizer.param_groups) != len(self._rules):
            raise ValueError(
                "the weights that require gradients are not those that this tuner began with: "
                "after freezing, unfreezing or adding weights make a new tuner"
            )
        return weights

    def _directions(self) -> list[Tensors]:
        """Where products are needed. At the first step Z is 0: one asks if there is a second derivative."""
        if self._steps == 0:
            return [self._tuned[0].direction] if self._has_past else []
        if self._steps % self.product_every:
            return []
        return [x.direction for x in self._tuned] if self.mu > 0 and self._moved else []

    def _present(self) -> list[tuple[Rule, float]]:
        """Rule and rate of each group, as they are now."""
        self._follow()
        groups = self.optimizer.param_groups
        return [(rule, float(group["lr"])) for rule, group in zip(self._rules, groups, strict=True)]

    def _follow(self) -> None:
        """Write what is tuned, and take up what others have changed in the optimizer.

        Raises ValueError where that changes the buffers of a weight, since Z has a part for each.
        """
        self._write()
        for k, group in enumerate(self.optimizer.param_groups):
            settings = self._settings_of(group)
            if settings == self._groups[k]:
                continue
            rule = self._rule(group)
            if rule.buffers != self._rules[k].buffers:
                raise ValueError(
                    f"the settings of parameter group {k} are now {rule}, which keeps other buffers than "
                    f"{self._rules[k]}: let momentum stay at 0 or above it, or make a new tuner"
                )
            self._rules[k], self._groups[k] = rule, settings

    def _rule(self, group: dict[str, Any]) -> Rule:
        return group_rule(self.optimizer, group)

    def _settings_of(self, group: dict[str, Any]) -> list[Any]:
        """What the rule of a group is made of."""
        return [group[name] for name in self.optimizer.defaults if name != "lr"]

    @torch.no_grad()
    def _carry(self, weights: Tensors, grads: Gradients, products: Sequence[Gradients]) -> Gradients:
        """Z <- mu A Z + B at the present weights, buffers and values, before the optimizer moves them.

        Returns B of the rate for an adaptive mu, else nothing.
        """
        if self._adaptive and not products:
            self._reset()  # what mu = 0 forgets: `tangent_` of the rate writes the weights' part alone
        direct: Gradients = [None] * len(weights)
        begin = 0
        for k, (rule, lr) in enumerate(self._present()):
            count = len(self._tuned[0].z[k][0])
            used = [i for i in range(count) if grads[begin + i] is not None]
            numbered: dict[int, list[int]] = {}
            for i in used:
                numbered.setdefault(self._number(rule, weights[begin + i]), []).append(i)
            for t, members in numbered.items():
                w = [weights[begin + i] for i in members]
                b = self._buffers(rule, w, t)
                g = chosen(grads, begin, members)
                for j, x in enumerate(self._tuned):
                    name = x.name if x.group == k else None
                    hz = chosen(products[j], begin, members) if products else None
                    if name or hz:
                        z = [[part[i] for i in members] for part in x.z[k]]
                        rule.tangent_(z, w, b, g, hz, lr, t, self.mu, name)
                if self._adaptive and self._adaptive.adapts_mu:
                    fresh = [torch.empty_like(x) for x in w]
                    rule.tangent_([fresh], w, b, g, None, lr, t, 0.0)
                    for i, slope in zip(members, fresh, strict=True):
                        direct[begin + i] = slope
            for i in set(range(count)) - set(used):  # a weight that the loss leaves out: A = I, B = 0
                for x in self._tuned:
                    for part in x.z[k]:
                        part[i].mul_(self.mu)
            begin += count
        self._moved = True
        return direct

    def _number(self, rule: Rule, weight: Tensor) -> int:
        """The number of the weight's next step; one that some losses leave out lags behind the others."""
        state = self.optimizer.state.get(weight, {})
        if any(state.get(name) is None for name in rule.buffers):
            return 1
        return int(state["step"]) + 1 if "step" in state else 2

    def _buffers(self, rule: Rule, weights: Tensors, t: int) -> list[Tensors]:
        """The optimizer's buffers before step t of these weights; zeros before the first one."""
        if t == 1:
            return [[torch.zeros_like(w) for w in weights] for _ in rule.buffers]
        return [[self.optimizer.state[w][name] for w in weights] for name in rule.buffers]

    def _outer_step(self, outer_loss: Closure, weights: Tensors, slope: Gradients) -> bool:
        """Delta and the steps of all values; whether a loss scale kept Delta from being known."""
        with self._guard(self.outer_batchnorm) as guard:
            outer = self._outer(outer_loss, weights)
            grads = gradient(self._scaling.scaled(outer), weights, what="outer_loss", hooks="skip")
        guard.restore()
        if self._scaling.overflow(outer, grads):
            for x in self._tuned:
                x.hypergradient = self._hypergradient = math.nan
            return True
        finite = math.isfinite(float(outer.detach()))
        self._move(self._scaling.unscaled(grads), "outer_loss or the hypergradient", finite, slope)
        return False

    def _outer(self, outer_loss: Closure, weights: Tensors) -> Tensor:
        """The outer loss, checked where it has not been before."""
        found = evaluate(
            outer_loss, "outer_loss", weights, first=not self._outer_trusted, hooks=self._outer_hooks
        )
        self._outer_trusted = True
        return found

    def _try_outer(self, outer_loss: Closure, weights: Tensors) -> None:
        """The checks alone: buffers and random state stay."""
        with torch.random.fork_rng(cuda_devices(weights)), self._guard(self.outer_batchnorm) as guard:
            gradient(self._outer(outer_loss, weights), weights, what="outer_loss", hooks="skip")
        guard.restore()

    def _deltas(self, outer: Gradients) -> list[float]:
        """Delta of each tuned value."""
        return [inner_product(outer, x.direction) for x in self._tuned]

    def _move(
        self,
        outer: Gradients,
        what: str,
        finite: bool = True,
        slope: Gradients | None = None,
        deltas: Sequence[float] = (),
    ) -> None:
        """The projected steps of all values.

        A Delta that is not finite keeps them and forgets the past, and so does one that would move a value
        beyond what the weights' precision can hold.
        """
        for x, delta in zip(self._tuned, deltas or self._deltas(outer), strict=True):
            x.hypergradient = delta
        self._hypergradient = self._tuned[0].hypergradient
        finite = finite and all(math.isfinite(x.hypergradient) for x in self._tuned)
        if finite and self._adaptive:
            self._tuned[0].hyper_lr = self._adaptive.hyper_lr_before(self.hyper_lr)
        moved = [x.after(self._step_of(x, outer)) for x in self._tuned] if finite else []
        if not (finite and all(x.fits(value) for x, value in zip(self._tuned, moved, strict=True))):
            what = self._blamed(what)
            self._reset()
            if self._adaptive:
                self._adaptive.forget()
            self._lost += 1
            self._note_look(lost=True)
            self._failed(what, self._lost)
            if sum(self._lost_of_last) >= MOST_LOST:
                raise Diverged(
                    f"{what} was not finite at {MOST_LOST} of the last {len(self._lost_of_last)} looks; the "
                    f"learning rate is {self._lr:g}"
                )
            return
        self._failures = self._lost = 0
        self._note_look(lost=False)
        for x, value in zip(self._tuned, moved, strict=True):
            x.value = value
        self._write()
        if self._adaptive:
            self._tuned[0].hyper_lr = self._adaptive.hyper_lr_after(
                self.hyper_lr, self.hypergradient, self._lr
            )
            if slope is not None:
                self.mu = self._adaptive.next_mu(self.mu, inner_product(outer, slope), self._lr)
            self._adaptive.note(self.hypergradient)

    def _note_look(self, *, lost: bool) -> None:
        if lost or self._multiplied or self.mu == 0:
            self._lost_of_last = [*self._lost_of_last, lost][-LOOKS:]
        self._multiplied = False

    def _blamed(self, what: str) -> str:
        """What was not finite: a Z that is not is the training loss's fault."""
        parts = [part for x in self._tuned for group in x.z for tensors in group for part in tensors]
        if self.mu == 0 or all(bool(torch.isfinite(part).all()) for part in parts):
            return what
        return (
            "the second derivative of train_loss (its gradient is finite; a norm or a cosine has none at 0, "
            "as in a padded row: add eps under the root)"
        )

    def _step_of(self, x: Tuned, outer: Gradients) -> float:
        """What hyper_lr multiplies: Delta within its bound."""
        return min(self.clip_hypergradient, max(-self.clip_hypergradient, x.hypergradient))

    def _take_step(self, weights: Sequence[Tensor]) -> None:
        """The optimizer's step, which must be the rule's and nothing else."""
        ahead = [] if self._trusted else self._expected(weights)
        with nothing_else_moves(self.optimizer, weights):
            super()._take_step(weights)
        if ahead:
            check_step(self.optimizer, weights, ahead)

    @torch.no_grad()
    def _expected(self, weights: Sequence[Tensor]) -> list[tuple[Tensor, float]]:
        rules = [each for each, x in zip(self._present(), self._tuned[0].z, strict=True) for _ in x[0]]
        buffers = []
        for (rule, _), w in zip(rules, weights, strict=True):
            t = self._number(rule, w)
            buffers.append(([part[0] for part in self._buffers(rule, [w], t)], t))
        return expected(rules, weights, buffers)

    def _write(self) -> None:
        for x in self._tuned:
            x.write(self.optimizer)
        self._lr = float(self.optimizer.param_groups[self._tuned[0].group]["lr"])

    def _reset(self) -> None:
        for x in self._tuned:
            for parts in x.z:
                for part in filter(None, parts):
                    torch._foreach_zero_(part)
        self._moved = False

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "tuned": tuned_state.save(self._tuned),
            "moved": self._moved,
            "lost": self._lost,
            "lost_of_last": list(self._lost_of_last),
            "multiplied": self._multiplied,
            "adaptive": self._adaptive.state_dict(self.mu, self.hyper_lr) if self._adaptive else {},
            **self._scaling.state_dict(),
        }

    def _check_state(self, state: dict[str, Any]) -> None:
        super()._check_state(state)
        tuned_state.check(self._tuned, state["tuned"])
        truths = [state["moved"], state["multiplied"], *state["lost_of_last"]]
        if not (all(isinstance(x, bool) for x in truths) and is_count(state["lost"])):
            raise ValueError(
                "'moved', 'multiplied' and each of 'lost_of_last' of this state must be True or False, and "
                "'lost' a whole number"
            )
        if self._adaptive:
            self._adaptive.check_state(state["adaptive"])
        self._scaling.check_state(state)

    def _take_state(self, state: dict[str, Any]) -> None:
        super()._take_state(state)
        tuned_state.load(self._tuned, state["tuned"])
        if self._adaptive:
            self.mu, self._tuned[0].hyper_lr = self._adaptive.load_state_dict(state["adaptive"])
        self._moved, self._lost = state["moved"], state["lost"]
        self._lost_of_last, self._multiplied = list(state["lost_of_last"]), state["multiplied"]
        self._scaling.load_state_dict(state)
        self._write()
        if self._device:
            self._device.start()
