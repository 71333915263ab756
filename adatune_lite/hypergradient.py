"""Exact hypergradients of a whole learning-rate schedule.

With w_0 given and (w, b)_{t+1} = Phi_t((w, b)_t, eta_t), t = 0 .. T-1, the final loss f(eta) = E(w_T) has

    d f / d eta_t = grad E(w_T)^T  A_{T-1} ... A_{t+1}  B_t

(MARTHE, arXiv 1910.08525). The *reverse* sweep carries the adjoint a_T = grad E(w_T) backwards,
a_t = A_t^T a_{t+1}, d f / d eta_t = B_t^T a_{t+1}: all T entries for one product a step. Iterates are
stored, or recomputed from checkpoints. The *forward* sweep carries one tangent per entry, T/2 times more
products; it is the oracle of the reverse one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from adatune_lite.curvature import check_scalar, check_second_derivative, gradient, product
from adatune_lite.rules import Rule, Tensors, adjoint, as_rule

Weights = Mapping[str, Tensor] | Sequence[Tensor]
State = list[Tensors]


@dataclass(frozen=True)
class Problem:
    """Train from `weights` for T steps, then measure the final loss.

    weights: mapping or sequence of floating-point tensors, the start w_0 (never changed).
    train_loss(weights, t[, data]): mini-batch loss of step t = 0, 1, ..., a scalar; the same t must give the
        same function, since the sweeps evaluate it more than once.
    final_loss(weights[, data]): E, a scalar.
    data: passed on to both losses where it is given.

    A weight that a training loss leaves out has the gradient 0, so that weight decay and momentum still move
    it; `torch.optim` skips such a weight.
    """

    weights: Weights
    train_loss: Callable[..., Tensor]
    final_loss: Callable[..., Tensor]
    data: Any = None

    def __post_init__(self) -> None:
        tensors = self.tensors()
        if not tensors:
            raise ValueError("a Problem needs at least one weight tensor")
        for w in tensors:
            if not isinstance(w, Tensor) or not w.is_floating_point():
                raise ValueError("the weights of a Problem must be floating-point tensors")

    def tensors(self) -> Tensors:
        """The start weights as a list."""
        values = self.weights.values() if isinstance(self.weights, Mapping) else self.weights
        return [w.detach() if isinstance(w, Tensor) else w for w in values]

    def _call(self, loss: Callable[..., Tensor], weights: Sequence[Tensor], what: str, *args: Any) -> Tensor:
        shaped: Any = tuple(weights)
        if isinstance(self.weights, Mapping):
            shaped = dict(zip(self.weights, weights, strict=True))
        data = () if self.data is None else (self.data,)
        return check_scalar(loss(shaped, *args, *data), what)

    def train(self, weights: Sequence[Tensor], t: int) -> Tensor:
        """The training loss of step t."""
        return self._call(self.train_loss, weights, "train_loss", t)

    def final(self, weights: Sequence[Tensor]) -> Tensor:
        """The final loss E."""
        return self._call(self.final_loss, weights, "final_loss")


def schedule_hypergradient(
    problem: Problem,
    schedule: Tensor | Sequence[float],
    rule: Rule | torch.optim.Optimizer,
    method: str = "reverse",
    checkpoints: int | None = None,
) -> tuple[float, Tensor]:
    """Final loss E and its exact gradient with respect to every learning rate of the schedule.

    schedule: T rates, finite and not negative (torch or plain numbers).
    rule: `al.rules.SGD(...)`, `al.rules.Adam(...)` or a torch optimizer whose settings are taken.
    method: "reverse" (about 3.5 plain trainings), or "forward" (T/2 times dearer, an oracle).
    checkpoints: None stores all T states; a number k keeps k states and recomputes the stretches between
        them (one more plain training, T/k + k states of memory). Both give the same digits.

    Returns (E, dE) with dE a float64 tensor of shape [T]. A non-finite E comes back as it is, with a
    non-finite dE. Raises ValueError for a bad schedule, method or number of checkpoints, LossError for a
    loss that is no scalar, does not depend on the weights or has no second derivative.
    """
    rates = check_schedule(schedule)
    rule = as_rule(rule)
    if method == "forward":
        return _forward(problem, rates, rule)
    if method != "reverse":
        raise ValueError(f'method must be "reverse" or "forward", not {method!r}')
    if checkpoints is not None and not 1 <= checkpoints <= len(rates):
        raise ValueError(f"checkpoints must lie between 1 and T = {len(rates)}, not {checkpoints}")
    return _reverse(problem, rates, rule, checkpoints)


def check_schedule(schedule: Tensor | Sequence[float]) -> list[float]:
    """The schedule as plain floats; raises ValueError unless it is 1-D, finite and not negative."""
    values = schedule.detach().to("cpu", torch.float64) if isinstance(schedule, Tensor) else schedule
    if isinstance(values, Tensor) and values.dim() != 1:
        raise ValueError(f"a schedule is one-dimensional; this one has shape {tuple(values.shape)}")
    rates = [float(x) for x in values]
    if not rates:
        raise ValueError("a schedule needs at least one rate")
    for t, rate in enumerate(rates):
        if not (math.isfinite(rate) and rate >= 0):
            raise ValueError(f"rates must be finite and not negative; the schedule has {rate} at step {t}")
    return rates


def final_loss(problem: Problem, schedule: Tensor | Sequence[float], rule: Rule) -> float:
    """E after one plain training with the schedule."""
    state = _start(problem, rule)
    for t, rate in enumerate(check_schedule(schedule)):
        state = _advance(problem, rule, state, rate, t)
    return float(problem.final(_leaves(state[0])).detach())


def _start(problem: Problem, rule: Rule) -> State:
    weights = problem.tensors()
    return [weights, *([torch.zeros_like(w) for w in weights] for _ in rule.buffers)]


def _leaves(weights: Tensors) -> Tensors:
    return [w.detach().requires_grad_() for w in weights]


def _filled(grads: Sequence[Tensor | None], weights: Tensors) -> Tensors:
    return [torch.zeros_like(w) if g is None else g for g, w in zip(grads, weights, strict=True)]


def _advance(problem: Problem, rule: Rule, state: State, rate: float, t: int) -> State:
    """One step of plain training: the only place where iterates come from."""
    leaves = _leaves(state[0])
    grads = _filled(gradient(problem.train(leaves, t), leaves, what="train_loss"), leaves)
    new: State = [[] for _ in state]
    with torch.no_grad():
        for i, w in enumerate(state[0]):
            weight, buffers = rule.update(w, [b[i] for b in state[1:]], grads[i], {"lr": rate}, t + 1)
            for part, value in zip(new, (weight, *buffers), strict=True):
                part.append(value)
    return new


def _stretch(problem: Problem, rule: Rule, state: State, rates: list[float], first: int) -> list[State]:
    """States before each step of a stretch that starts at step `first`."""
    states = [state]
    for k, rate in enumerate(rates[:-1]):
        states.append(_advance(problem, rule, states[-1], rate, first + k))
    return states


def _backwards(
    problem: Problem, rule: Rule, rates: list[float], kept: dict[int, State]
) -> Iterator[tuple[int, State]]:
    """(t, state before step t) for t = T-1 .. 0, recomputing what was not kept and letting go of the rest."""
    end = len(rates)
    for first in sorted(kept, reverse=True):
        states = _stretch(problem, rule, kept.pop(first), rates[first:end], first)
        for t in range(end - 1, first - 1, -1):
            yield t, states.pop()
        end = first


def _reverse(
    problem: Problem, rates: list[float], rule: Rule, checkpoints: int | None
) -> tuple[float, Tensor]:
    T = len(rates)
    every = 1 if checkpoints is None else math.ceil(T / checkpoints)
    state, kept = _start(problem, rule), {}
    for t, rate in enumerate(rates):
        if t % every == 0:
            kept[t] = state
        state = _advance(problem, rule, state, rate, t)
    leaves = _leaves(state[0])
    final = problem.final(leaves)
    value = float(final.detach())
    if not math.isfinite(value):
        return value, torch.full((T,), math.nan, dtype=torch.float64)
    a = [_filled(gradient(final, leaves, what="final_loss"), leaves)]
    a += [[torch.zeros_like(w) for w in leaves] for _ in rule.buffers]
    del state, final, leaves
    out: list[Tensor] = []
    for t, (weights, *buffers) in _backwards(problem, rule, rates, kept):
        w = _leaves(weights)
        grads = _filled(gradient(problem.train(w, t), w, create_graph=True, what="train_loss"), w)
        with torch.no_grad():
            if not out:
                check_second_derivative(grads)
            a, g_adjoint, rate_adjoint = adjoint(
                rule, a, weights, buffers, [g.detach() for g in grads], rates[t], t + 1
            )
        torch._foreach_add_(a[0], product(grads, w, g_adjoint))
        out.append(rate_adjoint)
    return value, torch.stack(out[::-1]).cpu()


def _forward(problem: Problem, rates: list[float], rule: Rule) -> tuple[float, Tensor]:
    state = _start(problem, rule)
    tangents: list[State] = []
    for t, rate in enumerate(rates):
        w = _leaves(state[0])
        grads = _filled(gradient(problem.train(w, t), w, create_graph=True, what="train_loss"), w)
        plain = [g.detach() for g in grads]
        for z in tangents:
            hz = product(grads, w, z[0], retain_graph=True)
            still = [[torch.zeros_like(x) for x in part] for part in z]
            rule.tangent_(still, state[0], state[1:], plain, None, rate, t + 1, 1.0)
            rule.tangent_(z, state[0], state[1:], plain, hz, rate, t + 1, 1.0)
            torch._foreach_sub_(z[0], still[0])  # earlier entries do not feel B_t
        fresh = [[torch.zeros_like(x) for x in part] for part in state]
        rule.tangent_(fresh, state[0], state[1:], plain, None, rate, t + 1, 1.0)
        tangents.append(fresh)
        state = _advance(problem, rule, state, rate, t)
    leaves = _leaves(state[0])
    final = problem.final(leaves)
    outer = _filled(gradient(final, leaves, what="final_loss"), leaves)
    values = [sum(float((o * z).sum()) for o, z in zip(outer, s[0], strict=True)) for s in tangents]
    return float(final.detach()), torch.tensor(values, dtype=torch.float64)
