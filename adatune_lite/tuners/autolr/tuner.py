"""AutoLR: explore at a high rate, then follow the minimum of a parabola along the step.

Kwatra, Thejas, Iyer, Ramjee, Sivathanu, "AutoLR", ICLR 2020 submission (OpenReview SkgtbaVYvH). The paper
leaves much open; what it leaves open is decided here and said so.

The step that ends a window (steps window, 2 window, ...) decides the rate, its own rate first. The optimizer
takes it at the present rate lr on trial, from w to w - lr d: that measures the direction d of whatever
optimizer it is. One superbatch gives losses at w - (lr + eps) d, a parabola through them the best eps within
bounds (`autolr_fit`), and where that is not 0 the optimizer takes the step anew at lr + eps.

Explore, the first explore_steps steps: the rate only rises. Exploit, from then on: the parabola is asked only
once the rate has saturated, and then the rate may fall or rise.

Drop rate: the fall of one held superbatch's loss since it was measured last, per step. Held is the superbatch
of the last decision, whose loss at the new rate the fit has measured or predicts; before the first decision
superbatch 0, measured at the start by the check below and shared with the first fit. So explore costs its
samples and nothing more.

Saturation: the drop rate is below a threshold. At first that is relative, the drop rate of the first window
whose loss fell, divided by `saturation`; the first drop rate between 0 and it is the absolute threshold for
the rest. A window whose loss rose is below every threshold, so it counts as saturated, but fixes none: its
drop rate is no rate of falling, and a threshold of 0 or less would leave nothing for `saturation` to decide.
Raises in explore do not begin the count anew. The paper's creep (Figure 10: 0.12 %), and a count begun on the
plateau would compare noise with noise. Ours need not: part (f) of experiment 06 measures the alternative.

Rollback: where the window after a change in exploit has a lower drop rate than the window before it, or a
loss that is not finite, training goes back to where it would be without the change: weights, optimizer state,
module buffers and random state after that step at the old rate. The step that finds this takes no gradient
step. Raises in explore are not judged: drop rates fall there whatever the rate does.

The rate stays as it is, with the reason in the log, where the optimizer does not move (empty direction), the
losses do not differ by more than rounding (flat), one of them is not finite, or the loss is not positive (no
room for |eps|^3 < r L). Without a minimum (concave fit) eps is the lower end of the bounds, with one beyond
them the bound.
"""

from __future__ import annotations

import copy
import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import is_count, is_number, plain, shown, whole
from adatune_lite.engine.closures import Closure
from adatune_lite.engine.curvature import LossError
from adatune_lite.tuners.autolr import log as logged
from adatune_lite.tuners.autolr.checks import (
    WANTED,
    check_outer,
    check_proportional,
    check_same,
    check_settings,
    rounding,
    superbatch_loss,
)
from adatune_lite.tuners.autolr.fit import (
    NOT_FINITE,
    REACH,
    SPREAD,
    parabola,
    positions,
    propose,
    trust_bound,
)
from adatune_lite.tuners.autolr.log import Change, Decision
from adatune_lite.tuners.base import Tuner, check_network, check_one_rate
from adatune_lite.tuners.gathered import training_gradient
from adatune_lite.tuners.products import Gradients
from adatune_lite.tuners.snapshot import Buffers, Snapshot, Watch

Tensors = list[Tensor]

_SETTINGS = (
    *("explore_steps", "window", "samples", "superbatch", "saturation", "epsilon_threshold"),
    *("lr_min", "reach", "spread", "clip_grad_value", "clip_grad_norm"),
)
"""What a saved state must agree in."""


class AutoLR(Tuner):
    """Explore, then exploit with a quadratic model of the loss along the step.

    optimizer: any optimizer of `torch.optim` whose step is a function of gradients and proportional to one
        learning rate; all parameter groups share that rate, which is the seed rate.
    explore_steps: the first steps, in which the rate only rises; `autolr_settings` has the paper's.
    window: steps between two decisions. samples: losses of a fit, odd. superbatch: mini-batches that
        `outer_loss(k)` averages, for the cost alone.
    saturation: see above, >= 1; None lets the rate fall at every window.
    epsilon_threshold: r of |eps|^3 < r L (unit: rate cubed per loss); None is no trust bound.
    lr_min: lower bound of the rate. rollback: whether a change is judged.
    reach: the most that one decision changes the rate, in units of the rate. spread: half-width of the
        samples, in the same unit, where the trust bound allows it.
    clip_grad_value, clip_grad_norm: bound of the training gradient's entries, or of its norm over all groups,
        before the optimizer sees it.
    total_steps: length of the training, for a check of explore_steps alone; None: `train` checks its own.
    model: the network, where its buffers (BatchNorm) cannot be found by hooks on the modules that run.

    `step` takes outer_loss(k), the mean loss over superbatch k of the training data: the same k, the same
    data. All evaluations of one k run without gradient, under one forked random seed, so that dropout is
    allowed, in the modes that the closure finds or sets; they leave module buffers alone, and the modes of
    modules that run in train_loss are put back after each. That two evaluations agree is checked on
    superbatch 0 at the first step, on superbatch 1, and at the first fit after `load_state_dict`, uncounted.

    `log` holds a `Decision` per window. A saved state is refused by an AutoLR with other settings; rollback,
    total_steps and model may differ.

    Step hooks of the optimizer run on trial steps too: two in the first step, one where a decision changes
    the rate. A loss that is negative, like a log-density's, leaves no room for
    |eps|^3 < r L: give epsilon_threshold=None. Losses are taken unscaled: there is no place for a GradScaler,
    so train in float32 or under autocast to bfloat16.

    Raises ValueError for arguments out of range, UnsupportedOptimizer at construction for an optimizer that
    needs a closure and at the first step for one whose step is not proportional to lr there; Adafactor, whose
    rate is bounded by 1 / sqrt(step), passes at small rates and is not proportional later.
    """

    needs = "look"
    costs = ("plain_steps", "look_steps")

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        explore_steps: int,
        *,
        window: int = 1000,
        samples: int = 5,
        saturation: float | None = 100.0,
        epsilon_threshold: float | None = 1e-3,
        lr_min: float = 0.0,
        superbatch: int = 100,
        rollback: bool = True,
        reach: float = REACH,
        spread: float = SPREAD,
        clip_grad_value: float | None = None,
        clip_grad_norm: float | None = None,
        total_steps: int | None = None,
        model: torch.nn.Module | None = None,
    ) -> None:
        super().__init__(optimizer, clip_grad_value, clip_grad_norm)
        check_one_rate(optimizer, "AutoLR")
        self.explore_steps = whole("explore_steps", explore_steps, 0)
        self.window, self.samples = whole("window", window, 1), whole("samples", samples, 3)
        self.superbatch = whole("superbatch", superbatch, 1)
        check_settings(
            self._lr,
            samples=self.samples,
            saturation=saturation,
            epsilon_threshold=epsilon_threshold,
            lr_min=lr_min,
            reach=reach,
            spread=spread,
            rollback=rollback,
        )
        self.saturation, self.epsilon_threshold = plain(saturation), plain(epsilon_threshold)
        self.clip_grad_value, self.clip_grad_norm = plain(clip_grad_value), plain(clip_grad_norm)
        self.lr_min, self.rollback = float(lr_min), rollback
        self.reach, self.spread = float(reach), float(spread)
        self.total_steps = None if total_steps is None else whole("total_steps", total_steps, 1)
        if self.total_steps:
            self.check_length(self.total_steps)
        self._settings = {name: getattr(self, name) for name in _SETTINGS}
        check_network(model)
        self._buffers = Buffers(model)
        self._modules: list[torch.nn.Module] = []
        """Modules that ran in the training loss of this step."""
        self._reset()

    def _reset(self) -> None:
        self.log: list[Decision] = []
        self._next = 0
        """Index of the next fit's superbatch."""
        self._checked = 1
        """Index of the superbatch at which the outer loss is asked twice."""
        self._held, self._held_loss, self._held_at = 0, math.nan, 0
        """The held superbatch, its loss, and the steps done when that was measured."""
        self._first = self._absolute = math.nan
        """Drop rate of the first window that fell, and that of the first crossing; NaN until then."""
        self._change: Change | None = None

    def check_length(self, steps: int) -> None:
        """Raises ValueError where explore is longer than total_steps, or where that is None, than these."""
        steps = self.total_steps or steps
        if self.explore_steps > steps:
            raise ValueError(
                f"explore_steps must be at most the training's {steps} steps, not {self.explore_steps}"
            )

    def series(self) -> dict[str, tuple[list[int], list[float]]]:
        return logged.series(self.log)

    def metrics(self) -> dict[str, float]:
        return logged.counts(self.log)

    @property
    def extra_passes(self) -> float:
        """Cost of all superbatch losses in plain steps: a forward pass without gradient is a third of one."""
        return self.looks * self.superbatch / 3

    def step(self, train_loss: Closure | list[Closure], outer_loss: Any = None) -> Tensor:
        if outer_loss is None:
            raise LossError(f"AutoLR needs {WANTED}")
        weights = self._weights()
        with self._refusable(weights):
            with Watch() as guard:
                found = training_gradient(train_loss, weights, first=not self._trusted)
            if not found.finite:
                guard.restore()
                self._skip(found)
                return found.loss
            grads, self._modules = self._clipped(found.grads), list(guard.modules.values())
            if self._steps == 0:
                check_proportional(
                    lambda lr: self._move(weights, grads, lr), weights, self.optimizer, self._lr
                )
                self._held_loss = check_outer(outer_loss, weights, self._modules)
            # Before it was first seen nothing had changed a buffer since any snapshot.
            new = self._buffers.note(guard)
            if self._change and (more := len(self._buffers) - len(self._change.snapshot.buffers)) > 0:
                self._change.snapshot.buffers += new[-more:]
            finite = True
            if (self._steps + 1) % self.window:
                self._move(weights, grads, self._lr)
            else:
                finite = self._decide(outer_loss, weights, grads, guard)
            self._used_lr = self._lr
            self._steps += 1
        if finite:
            self._failures = 0
        else:
            self._failed("a superbatch loss")
        return found.loss

    def _move(self, weights: Tensors, grads: Gradients, lr: float) -> None:
        self._set_gradients(weights, grads)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()

    def _decide(self, outer_loss: Any, weights: Tensors, grads: Gradients, guard: Watch) -> bool:
        """The step that ends a window; whether all losses were finite. Raises with everything as before."""
        start, lr, before = Snapshot.take(weights, self.optimizer), self._lr, dict(vars(self))
        try:
            self._move(weights, grads, lr)
            found = self._look(outer_loss, weights, start)
            if found.decision == "rollback":
                self._go_back(weights)
            elif found.new_lr != lr:
                if self.rollback and found.phase == "exploit" and found.drop_rate is not None:
                    trial = Snapshot.take(weights, self.optimizer, self._buffers)
                    self._change = Change(trial, lr, found.drop_rate, found.losses[len(found.losses) // 2])
                self._lr = found.new_lr
                self._take_anew(weights, grads, start, found)
        except BaseException:
            start.restore(weights, self.optimizer)
            guard.restore()
            vars(self).update(before)
            raise
        self.log.append(found)
        return NOT_FINITE not in found.reason

    def _take_anew(self, weights: Tensors, grads: Gradients, start: Snapshot, found: Decision) -> None:
        """The deciding step again, at the new rate."""
        start.restore(weights, self.optimizer)
        self._move(weights, grads, self._lr)

    def _look(self, outer_loss: Any, weights: Tensors, start: Snapshot) -> Decision:
        """The decision, taken at the weights of the trial step, which stay."""
        done, lr, k = self._steps + 1, self._lr, self._next
        phase = "explore" if done <= self.explore_steps else "exploit"
        drop_rate = threshold = middle = None

        def keep(reason: str) -> Decision:
            return Decision(done, phase, "keep", reason, lr, lr, drop_rate, threshold)

        if phase == "exploit" or k == self._held:
            held = self._loss(outer_loss, self._held, weights)
            drop_rate = (self._held_loss - held) / (done - self._held_at)
            if self._change and self.rollback and not drop_rate >= self._change.drop_rate:
                reason = "the drop rate fell" if math.isfinite(held) else "the loss is no longer finite"
                return Decision(done, phase, "rollback", reason, lr, self._change.lr, drop_rate)
            self._change = None
            if not math.isfinite(held):
                return keep(f"{NOT_FINITE} on the held superbatch")
            if not self._first > 0:
                self._first = drop_rate
            self._held_loss, self._held_at = held, done
            if phase == "exploit" and self.saturation is not None:
                threshold = self._threshold(self.saturation)
                if not self._saturated(drop_rate, threshold):
                    return keep("not saturated")
            middle = held if k == self._held else None
        if all(torch.equal(w, x) for w, x in zip(weights, start.weights, strict=True)):
            return keep("empty direction")
        if middle is None:
            middle = self._loss(outer_loss, k, weights)
        self._next += 1
        if not math.isfinite(middle):
            return keep(f"{NOT_FINITE} at eps = 0")
        if k == self._checked:
            check_same(k, middle, superbatch_loss(outer_loss, k, weights, self._modules), weights)
        self._held, self._held_loss, self._held_at = k, middle, done
        bound = trust_bound(lr, middle, self.epsilon_threshold, self.reach)
        if not bound > 0:
            return keep("no room for eps: the loss is not positive")
        eps, losses = self._sample(outer_loss, k, weights, start, bound, middle)
        low, noise = max(-bound, self.lr_min - lr), rounding(middle, weights)
        fit, move, reason = propose(phase, eps, losses, low, bound, noise)
        self._held_loss = parabola(fit, move) if fit and move not in eps else losses[eps.index(move)]
        new_lr = max(self.lr_min, lr + move)
        decision = "keep" if new_lr == lr else "raise" if new_lr > lr else "lower"
        return Decision(
            done, phase, decision, reason, lr, new_lr, drop_rate, threshold, k, tuple(eps), tuple(losses), fit
        )

    def _loss(self, outer_loss: Any, k: int, weights: Tensors) -> float:
        self.looks += 1
        return superbatch_loss(outer_loss, k, weights, self._modules)

    def _threshold(self, saturation: float) -> float:
        """The drop rate below which the rate has saturated; 0 as long as every window rose."""
        return max(self._first, 0.0) / saturation if math.isnan(self._absolute) else self._absolute

    def _saturated(self, drop_rate: float, threshold: float) -> bool:
        if math.isnan(self._absolute) and 0 < drop_rate < threshold:
            self._absolute = drop_rate
        return drop_rate <= 0 or drop_rate < threshold

    def _sample(
        self, outer_loss: Any, k: int, weights: Tensors, start: Snapshot, bound: float, middle: float
    ) -> tuple[list[float], list[float]]:
        """(eps, losses) on superbatch k around the trial step; the weights end where they were."""
        ahead = [w.detach().clone() for w in weights]
        eps = positions(self._lr, bound, self.samples, self.spread)
        losses = []
        for e in eps:
            if e == 0:
                losses.append(middle)
                continue
            with torch.no_grad():
                for w, x, y in zip(weights, start.weights, ahead, strict=True):
                    w.copy_(torch.lerp(x, y, 1 + e / self._lr))
            losses.append(self._loss(outer_loss, k, weights))
        with torch.no_grad():
            for w, y in zip(weights, ahead, strict=True):
                w.copy_(y)
        return eps, losses

    def _go_back(self, weights: Tensors) -> None:
        """Where training would be had the rate not changed; what is held starts from there."""
        change = self._change
        assert change is not None
        if not change.snapshot.fits(weights, self.optimizer):
            raise ValueError(
                "other weights train than when the rate was changed, so the change cannot be taken back: "
                "set the tuner's `rollback` to False where layers are frozen or unfrozen"
            )
        if len(self._buffers) != len(change.snapshot.buffers):
            raise ValueError("the network's buffers are not those of the saved state: give AutoLR the model")
        change.snapshot.restore(weights, self.optimizer, self._buffers)
        self._lr, self._change = change.lr, None
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr
        self._held_loss, self._held_at = change.loss, self._steps + 1

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "log": [asdict(found) for found in self.log],
            "next": self._next,
            "held": [self._held, self._held_loss, self._held_at],
            "thresholds": [self._first, self._absolute],
            "change": asdict(self._change) if self._change else None,
        }

    def _check_state(self, state: dict[str, Any]) -> None:
        super()._check_state(state)
        if not state["lr"] > 0:
            raise ValueError(f"the rate of this state must be above 0, not {state['lr']}")
        change = None if state["change"] is None else Change.of(state["change"])
        if change and not change.snapshot.fits(self._weights(), self.optimizer):
            raise ValueError("this state belongs to other weights than those that train")
        logged.check(state["log"])
        if (len(state["held"]), len(state["thresholds"])) != (3, 2):
            raise ValueError("this state must hold 3 numbers of the held superbatch and 2 thresholds")
        held, loss, at = state["held"]
        counts, measured = (state["next"], held, at), (loss, *state["thresholds"])
        if not (all(map(is_count, counts)) and all(map(is_number, measured)) and at <= state["steps"]):
            raise ValueError(
                "'next', 'held' and 'thresholds' of this state must be numbers of superbatches and steps and "
                f"losses, not {shown(state['next'])}, {shown(state['held'])} and {shown(state['thresholds'])}"
            )

    def _take_state(self, state: dict[str, Any]) -> None:
        super()._take_state(state)
        self.log = [Decision(**found) for found in state["log"]]
        self._next, self._checked = state["next"], state["next"]
        self._change = None if state["change"] is None else Change.of(copy.deepcopy(state["change"]))
        self._held, self._held_loss, self._held_at = state["held"]
        self._first, self._absolute = state["thresholds"]
        for group in self.optimizer.param_groups:
            group["lr"] = self._lr
