"""The parts of a hypergradient, each tried by itself: see `tuning.hypergradcheck`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import function
from adatune_lite.engine.closures import BufferGuard, evaluate
from adatune_lite.engine.curvature import LossError, gradient, product
from adatune_lite.rules import Tensors, group_rule
from adatune_lite.tuners.snapshot import cuda_devices

LADDER = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
"""Steps of the differences, relative to the rate or, for the parts, to the length of the weights."""
PART = 1e-5
"""From which relative error on a part is named: its differences are coarser than those of the whole."""


class UserTraining:
    """What `make` returned; raises ValueError, with the line that mends it, for what cannot be checked."""

    def __init__(self, made: object) -> None:
        if not (_is_triple(made)):
            raise ValueError(f"make must return (optimizer, train_loss, outer_loss), not {made!r}")
        triple: Any = made
        self.optimizer, self._train_loss, self._outer_loss = triple
        function("train_loss", self._train_loss, 0, wanted="a function of the step t that returns the loss")
        function("outer_loss", self._outer_loss, wanted="a function without arguments that returns the loss")
        self.weights = [
            w for group in self.optimizer.param_groups for w in group["params"] if w.requires_grad
        ]
        for w in self.weights:
            if w.dtype is not torch.float64:
                raise ValueError(
                    f"a weight of shape {tuple(w.shape)} is {w.dtype}, too coarse for differences: in make, "
                    "write model = model.double() before the optimizer"
                )
        self._devices = cuda_devices(self.weights)

    def train(self, t: int) -> Tensor:
        return self._seeded(lambda: self._train_loss(t), f"train_loss({t})", t + 1)

    def outer(self) -> Tensor:
        return self._seeded(self._outer_loss, "outer_loss", 0)

    def outer_value(self, batchnorm: str | None) -> float:
        """E, with buffers as before."""
        with BufferGuard(batchnorm) as guard:
            value = float(self.outer().detach())
        guard.restore()
        return value

    def _seeded(self, loss: Callable[[], Tensor], name: str, seed: int) -> Tensor:
        with torch.random.fork_rng(self._devices):
            torch.manual_seed(seed)
            try:
                found = loss()
            except RuntimeError as error:
                if not any(word in str(error) for word in ("dtype", "type (", "Double", "double")):
                    raise
                raise ValueError(
                    f"{name} gives float64 weights data of another type ({error}): write x = x.double()"
                ) from error
        if not isinstance(found, Tensor):
            kind = type(found).__name__
            raise LossError(f"{name} must return a scalar floating-point tensor, not {kind}")
        if found.is_floating_point() and found.dtype is not torch.float64:
            raise ValueError(
                f"{name} is {found.dtype}, too coarse for differences: write x = x.double(), and cast "
                "nothing down"
            )
        return found


def _is_triple(made: object) -> bool:
    if not (isinstance(made, tuple | list) and len(made) == 3):
        return False
    return isinstance(made[0], torch.optim.Optimizer) and callable(made[1]) and callable(made[2])


def rounding(value: float, unit: float) -> float:
    """What rounding alone makes of a difference quotient of a value, at the widest step."""
    return 8 * torch.finfo(torch.float64).eps * abs(value) / (LADDER[0] * unit)


def nearest(
    given: float, quotient: Callable[[float], float], rtol: float, noise: float = 0.0
) -> tuple[float, float]:
    """(quotient nearest to the number, relative error); the ladder ends where that is small enough."""
    true, error = math.nan, math.inf
    for h in LADDER:
        found = quotient(h)
        size = max(abs(given), abs(found))
        apart = max(0.0, abs(given - found) - noise) / size if size else 0.0
        if apart < error:
            true, error = found, apart
        if error <= rtol:
            break
    return true, error


def wrong_part(made: UserTraining, steps: int) -> str:
    """The first part that is wrong, step by step along the plain training; "" where each is right."""
    for t in range(steps):
        found = _wrong_loss(made, partial(made.train, t), f"train_loss({t})", None, twice=True)
        found = found or _wrong_step(made, t)
        if found:
            return found
    return _wrong_loss(made, made.outer, "outer_loss", "batch", twice=False)


def _wrong_loss(
    made: UserTraining, loss: Callable[[], Tensor], name: str, batchnorm: str | None, *, twice: bool
) -> str:
    """What is wrong with a loss at the present weights; "" for nothing. Weights and buffers stay."""
    weights = made.weights
    start = [w.detach().clone() for w in weights]

    def at(move: float, direction: Tensors) -> tuple[float, Tensors]:
        """The loss and its gradient at a distance along a direction."""
        with torch.no_grad():
            for w, x, d in zip(weights, start, direction, strict=True):
                w.copy_(x + move * d)
        with BufferGuard(batchnorm) as guard:
            value = loss()
            grads = _filled(torch.autograd.grad(value, weights, allow_unused=True), weights)
        guard.restore()
        with torch.no_grad():
            for w, x in zip(weights, start, strict=True):
                w.copy_(x)
        return float(value.detach()), grads

    with BufferGuard(batchnorm) as guard:
        once, again = float(loss().detach()), float(loss().detach())
    guard.restore()
    if not math.isclose(once, again, rel_tol=1e-9):
        return (
            f"state: {name} is {once:.9g} and, evaluated again at the same weights, {again:.9g}: buffers or "
            "something else that it keeps have moved, and the derivative does not see that"
        )
    _, g = at(0.0, start)
    length = _length(g)
    if not length:
        return ""
    direction, unit = [x / length for x in g], _length(start) or 1.0

    def quotient(h: float) -> float:
        above, below = (at(s * h * unit, direction)[0] for s in (1, -1))
        return (above - below) / (2 * h * unit)

    true, error = nearest(length, quotient, PART, rounding(once, unit))
    if error > PART:
        return (
            f"{name}: its gradient is not its derivative, along itself {length:.9g} and by differences "
            f"{true:.9g}: something in it is detached, holds a copy of the weights, or has a backward pass "
            "of its own"
        )
    return _wrong_product(made, loss, name, at, direction, unit) if twice else ""


def _wrong_product(
    made: UserTraining,
    loss: Callable[[], Tensor],
    name: str,
    at: Callable[[float, Tensors], tuple[float, Tensors]],
    direction: Tensors,
    unit: float,
) -> str:
    """What is wrong with the second derivative of a loss along a direction."""
    with BufferGuard() as guard:
        value = evaluate(loss, name, made.weights, twice=True)
        grads = _filled(gradient(value, made.weights, create_graph=True, what=name), made.weights)
        curved = product(grads, made.weights, direction, what=name)
    guard.restore()
    best = math.inf
    for h in LADDER:
        above, below = (at(s * h * unit, direction)[1] for s in (1, -1))
        apart = [(a - b) / (2 * h * unit) - c for a, b, c in zip(above, below, curved, strict=True)]
        noise = 8 * torch.finfo(torch.float64).eps * _length(above) / (h * unit)
        best = min(best, max(0.0, _length(apart) - noise) / (_length(curved) or 1.0))
    if best <= PART:
        return ""
    return (
        f"{name}: its gradient is right, and the derivative of that is not (relative error {best:.1e} along "
        "the gradient): a function in it has a wrong second derivative, or uses what it saved in passing"
    )


def _wrong_step(made: UserTraining, t: int) -> str:
    """Take a plain step; what is wrong with the gradient that it finds, or with the step of the rule."""
    optimizer = made.optimizer
    optimizer.zero_grad()
    with BufferGuard() as guard:
        taken = _filled(torch.autograd.grad(made.train(t), made.weights, allow_unused=True), made.weights)
    guard.restore()
    made.train(t).backward()
    for w, g in zip(made.weights, taken, strict=True):
        if w.grad is not None and not torch.allclose(w.grad, g, rtol=1e-9, atol=1e-300):
            return (
                f"backward() leaves another gradient in a weight of shape {tuple(w.shape)} than the "
                f"derivative of train_loss({t}): a hook changes it on its way"
            )
    ahead = [
        _ahead(optimizer, group, w)
        for group in optimizer.param_groups
        for w in group["params"]
        if w.requires_grad
    ]
    optimizer.step()
    for w, x in zip(made.weights, ahead, strict=True):
        if not torch.allclose(w.detach(), x, rtol=1e-9, atol=1e-12):
            return (
                f"rule: step {t} of {type(optimizer).__name__} moves a weight of shape {tuple(w.shape)} "
                "elsewhere than its rule does: something around the step changes gradients or weights"
            )
    return ""


@torch.no_grad()
def _ahead(optimizer: torch.optim.Optimizer, group: dict[str, Any], w: Tensor) -> Tensor:
    """Where the rule of its group moves a weight with its present gradient."""
    if w.grad is None:
        return w.detach().clone()
    rule, state = group_rule(optimizer, group), optimizer.state.get(w, {})
    fresh = any(state.get(name) is None for name in rule.buffers)
    t = 1 if fresh else int(state["step"]) + 1 if "step" in state else 2
    buffers = [torch.zeros_like(w) if fresh else state[name] for name in rule.buffers]
    return rule.update(w.detach(), buffers, w.grad, {"lr": group["lr"]}, t)[0]


def _filled(grads: Sequence[Tensor | None], weights: Tensors) -> Tensors:
    return [torch.zeros_like(w) if g is None else g for g, w in zip(grads, weights, strict=True)]


def _length(values: Tensors) -> float:
    return math.sqrt(sum(float(x.detach().square().sum()) for x in values))
