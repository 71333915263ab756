"""MARTHE, RTHO and HD: online learning rates from a discounted forward hypergradient.

One recursion (MARTHE, arXiv 1910.08525; mu = 1: RTHO, arXiv 1703.01785; mu = 0: HD, arXiv 1703.04782 with
the outer gradient on other data):

    Z_0 = 0,    Z_{t+1} = mu A_t Z_t + B_t,    Delta = grad E(w_{t+1}) . Z_{t+1}
    lr_{t+1} = min(lr_max, max(lr_min, lr_t - hyper_lr Delta))

where A_t and B_t are the derivatives of the optimizer's whole step with respect to its state (weights and
buffers) and to the rate. Order of one step: gradient at w_t; Z_{t+1} at lr_t; optimizer step; Delta; new
rate.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from adatune_lite.curvature import LossError, check_second_derivative, dot, gradient, product
from adatune_lite.rules import Tensors, from_optimizer
from adatune_lite.tuners.base import Tuner, all_finite
from adatune_lite.tuners.closures import BufferGuard, Closure, evaluate


class MARTHE(Tuner):
    """Discounted forward hypergradient, 0 <= mu <= 1.

    optimizer: `torch.optim.SGD` or `Adam` with one parameter group; its lr is the start.
    mu: discount per step of the past in Z.
    hyper_lr: step of the rate against Delta, >= 0 (unit: rate squared per loss).
    lr_min, lr_max: the rate is projected to [lr_min, lr_max]; lr_max None is no upper bound.
    clip_hypergradient: bound on |Delta| in the update of the rate; `hypergradient` stays raw.
    outer_batchnorm: "batch" (exact: the outer batch's own statistics) or "running" (an approximation, since
        running statistics are a state that Z does not carry).
    every: the rate moves at every `every`-th step; Z moves at each.

    Raises ValueError for arguments out of range, UnsupportedOptimizer for an optimizer without a rule.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        mu: float = 0.99,
        hyper_lr: float = 1e-6,
        *,
        lr_min: float = 0.0,
        lr_max: float | None = None,
        clip_hypergradient: float | None = None,
        outer_batchnorm: str = "batch",
        every: int = 1,
    ) -> None:
        super().__init__(optimizer)
        self.rule = from_optimizer(optimizer)
        if not (isinstance(mu, int | float) and 0 <= mu <= 1):
            raise ValueError(f"mu must be a number in [0, 1], not {mu!r}")
        if not (isinstance(hyper_lr, int | float) and math.isfinite(hyper_lr) and hyper_lr >= 0):
            raise ValueError(f"hyper_lr must be a finite number and not negative, not {hyper_lr!r}")
        if not (math.isfinite(lr_min) and 0 <= lr_min <= self._lr):
            raise ValueError(f"lr_min must lie between 0 and the start rate {self._lr:g}, not {lr_min}")
        if lr_max is not None and not lr_max >= self._lr:
            raise ValueError(f"lr_max must be at least the start rate {self._lr:g}, not {lr_max}")
        if clip_hypergradient is not None and not clip_hypergradient > 0:
            raise ValueError(f"clip_hypergradient must be above 0, not {clip_hypergradient}")
        if outer_batchnorm not in ("batch", "running"):
            raise ValueError(f'outer_batchnorm must be "batch" or "running", not {outer_batchnorm!r}')
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be a whole number of at least 1, not {every!r}")
        self.mu, self.hyper_lr = float(mu), float(hyper_lr)
        self.lr_min, self.lr_max = float(lr_min), math.inf if lr_max is None else float(lr_max)
        self.clip_hypergradient = math.inf if clip_hypergradient is None else float(clip_hypergradient)
        self.outer_batchnorm, self.every = outer_batchnorm, every
        self._moved = False
        weights = self._weights()
        carried = 1 + len(self.rule.buffers) if self.mu > 0 else 1
        self._z = [[torch.zeros_like(w, requires_grad=False) for w in weights] for _ in range(carried)]

    def step(self, train_loss: Closure, outer_loss: Closure | None = None) -> Tensor:
        if outer_loss is None:
            raise LossError(
                f"{type(self).__name__} needs outer_loss: a function without arguments that returns the loss "
                "on validation data"
            )
        weights = self._weights()
        # the first step has no past; its product only asks whether there is a second derivative
        with_past = self.mu > 0 and (self._moved or self._steps == 0)
        with self._refusable(weights):
            with BufferGuard() as guard:
                loss = evaluate(train_loss, "train_loss", weights, first=self._steps == 0)
                grads = gradient(loss, weights, create_graph=with_past, what="train_loss")
                finite = all_finite(loss, grads)
                hz = self._past(weights, grads) if finite and with_past else None
            if not finite:
                guard.restore()
                self._failed("the training loss or its gradient")
                return loss.detach()
            plain = [None if g is None else g.detach() for g in grads]
            del grads
            self._carry(weights, plain, hz)
            self._optimizer_step(weights, plain)
            self._steps += 1
            if self._steps % self.every == 0:
                self._outer_step(outer_loss, weights)
            else:
                self._failures = 0
        return loss.detach()

    def _past(self, weights: Tensors, grads: list[Tensor | None]) -> Tensors | None:
        """The Hessian-vector product with Z, for the weights that the loss uses; None while Z is 0."""
        if self._steps == 0:
            check_second_derivative(grads)
        used = [(g, w, z) for g, w, z in zip(grads, weights, self._z[0], strict=True) if g is not None]
        hz = product([g for g, _, _ in used], [w for _, w, _ in used], [z for _, _, z in used])
        return hz if self._moved else None

    @torch.no_grad()
    def _carry(self, weights: Tensors, grads: list[Tensor | None], hz: Tensors | None) -> None:
        """Z <- mu A Z + B at the present weights, buffers and rate, before the optimizer moves them."""
        used = [i for i, g in enumerate(grads) if g is not None]
        groups: dict[int, list[int]] = {}
        for k, i in enumerate(used):
            groups.setdefault(self._number(weights[i]), []).append(k)
        for t, members in groups.items():
            chosen = [used[k] for k in members]
            w = [weights[i] for i in chosen]
            self.rule.tangent_(
                [[part[i] for i in chosen] for part in self._z],
                w,
                self._buffers(w, t),
                [g for i in chosen if (g := grads[i]) is not None],
                None if hz is None else [hz[k] for k in members],
                self._lr,
                t,
                self.mu,
            )
        for i in set(range(len(weights))) - set(used):  # a weight that the loss leaves out: A = I, B = 0
            for part in self._z:
                part[i].mul_(self.mu)
        self._moved = True

    def _number(self, weight: Tensor) -> int:
        """The number of the weight's next step; one that some losses leave out lags behind the others."""
        state = self.optimizer.state.get(weight, {})
        if any(state.get(name) is None for name in self.rule.buffers):
            return 1
        return int(state["step"]) + 1 if "step" in state else 2

    def _buffers(self, weights: Tensors, t: int) -> list[Tensors]:
        """The optimizer's buffers before step t of these weights; zeros before the first one."""
        if t == 1:
            return [[torch.zeros_like(w) for w in weights] for _ in self.rule.buffers]
        return [[self.optimizer.state[w][name] for w in weights] for name in self.rule.buffers]

    def _outer_step(self, outer_loss: Closure, weights: Tensors) -> None:
        with BufferGuard(self.outer_batchnorm) as guard:
            outer = evaluate(outer_loss, "outer_loss", weights, first=self._steps == 1)
            grads = gradient(outer, weights, what="outer_loss")
        guard.restore()
        pairs = [(g, z) for g, z in zip(grads, self._z[0], strict=True) if g is not None]
        delta = float(dot([g for g, _ in pairs], [z for _, z in pairs]))
        self._move(delta, "the outer loss or the hypergradient", math.isfinite(float(outer.detach())))

    def _move(self, delta: float, what: str, finite: bool = True) -> None:
        """The projected step of the rate; a Delta that is not finite keeps the rate and forgets the past."""
        self.hypergradient = delta
        if not (finite and math.isfinite(delta)):
            self._reset()
            self._failed(what)
            return
        self._failures = 0
        clipped = min(self.clip_hypergradient, max(-self.clip_hypergradient, delta))
        self._lr = min(self.lr_max, max(self.lr_min, self._lr - self.hyper_lr * clipped))
        self.optimizer.param_groups[0]["lr"] = self._lr

    def _reset(self) -> None:
        for part in self._z:
            torch._foreach_zero_(part)
        self._moved = False

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "z": [[x.clone() for x in part] for part in self._z],
            "moved": self._moved,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        shapes = [[tuple(x.shape) for x in part] for part in state["z"]]
        if shapes != [[tuple(x.shape) for x in part] for part in self._z]:
            raise ValueError("this state belongs to other weights or another rule: the shapes of Z differ")
        for part, saved in zip(self._z, state["z"], strict=True):
            for x, y in zip(part, saved, strict=True):
                x.copy_(y)
        self._moved = state["moved"]
        self.optimizer.param_groups[0]["lr"] = self._lr


class RTHO(MARTHE):
    """Real-time hyper-parameter optimisation: the undiscounted forward hypergradient (mu = 1).

    every: the published hyper-batch; MARTHE's paper compares with 1.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, hyper_lr: float = 1e-6, **options: Any) -> None:
        super().__init__(optimizer, 1.0, hyper_lr, **options)


class HD(MARTHE):
    """Hypergradient descent.

    Without `outer_loss` it is the published one (Baydin et al., equation 8 and its variants): before the
    step, lr <- lr - hyper_lr (g_t . B_{t-1}) with training gradients, so `lr` is then the rate used last.
    With `outer_loss` it is MARTHE with mu = 0. One run keeps to one of the two.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, hyper_lr: float = 1e-6, **options: Any) -> None:
        super().__init__(optimizer, 0.0, hyper_lr, **options)

    def step(self, train_loss: Closure, outer_loss: Closure | None = None) -> Tensor:
        if outer_loss is not None:
            return super().step(train_loss, outer_loss)
        weights = self._weights()
        with self._refusable(weights):
            with BufferGuard() as guard:
                loss = evaluate(train_loss, "train_loss", weights, first=self._steps == 0)
                grads = gradient(loss, weights, what="train_loss")
            if not all_finite(loss, grads):
                guard.restore()
                self._failed("the training loss or its gradient")
                return loss.detach()
            if self._moved and self._steps % self.every == 0:
                every = zip(grads, weights, self._z[0], strict=True)
                used = [(g, w, z) for g, w, z in every if g is not None]
                with torch.no_grad():
                    outer = self.rule.regularised([g for g, _, _ in used], [w for _, w, _ in used])
                    delta = float(dot(outer, [z for _, _, z in used]))
                self._move(delta, "the hypergradient")
            else:
                self._failures = 0
            self._carry(weights, grads, None)
            self._optimizer_step(weights, grads)
            self._steps += 1
        return loss.detach()
