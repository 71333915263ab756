"""Is the hypergradient right on this model? Held to central differences through plain training of torch.

As `torch.autograd.gradcheck` does for a function. Along a ladder of h the smallest disagreement counts: a
kink of ReLU between two trainings spoils single ones.

    Delta of mu:            sum_t mu^(T-1-t) dE/d lr_t, all rates of a group moved by h mu^(T-1-t)
    entry t of a schedule:  dE/d lr_t, one rate moved by h

Where a number is wrong the parts are tried one by one, each at the weights of the training: the training loss
and the outer loss along their own gradients, the second derivative against a quotient of gradients, the rule
against the optimizer's step, and a second evaluation at the same weights. If each is right, the loss
remembers something from step to step that neither weights nor the optimizer's buffers hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from adatune_lite.checks import function, is_number, shown, truth, whole
from adatune_lite.engine.closures import BufferGuard
from adatune_lite.engine.curvature import LossError
from adatune_lite.engine.hypergradient import Problem, schedule_hypergradient
from adatune_lite.rules import Tensors
from adatune_lite.tuners import MARTHE
from adatune_lite.tuners.clipping import clipping
from adatune_lite.tuning.parts import UserTraining, nearest, rounding, wrong_part

Make = Callable[[], tuple[torch.optim.Optimizer, Callable[[int], Tensor], Callable[[], Tensor]]]

MEMORY = (
    "every part is right by itself: something is remembered from step to step that neither weights nor the "
    "optimizer's buffers hold, as a moving average, spectral_norm's vectors or a codebook is, and the "
    "derivative does not see it"
)


class HypergradcheckError(RuntimeError):
    """A hypergradient is not the derivative; the text says by how much, and which part is wrong."""


@dataclass(frozen=True)
class Number:
    """One hypergradient beside its difference quotient."""

    name: str
    given: float
    true: float
    error: float
    """Relative, beyond rounding."""

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.given:.9g}, by differences {self.true:.9g}, relative error {self.error:.1e}"
        )


@dataclass(frozen=True)
class Hypergradcheck:
    """What `hypergradcheck` found: print it."""

    numbers: tuple[Number, ...]
    rtol: float
    fault: str = ""
    """The part that is wrong."""
    note: str = ""
    """Worth knowing, and no fault."""

    @property
    def ok(self) -> bool:
        """Whether all numbers are right."""
        return not self.fault and all(x.error <= self.rtol for x in self.numbers)

    def __str__(self) -> str:
        head = "the hypergradient is " + ("right" if self.ok else "not the derivative of the training")
        return "\n  ".join(filter(None, (head, *map(str, self.numbers), self.fault, self.note)))


def hypergradcheck(
    make: Make,
    steps: int = 4,
    *,
    mu: float = 0.9,
    rtol: float = 1e-6,
    clip_grad_value: float | None = None,
    clip_grad_norm: float | None = None,
    raise_exception: bool = True,
) -> Hypergradcheck:
    """Hold Delta of RTHO and of MARTHE, and the gradient of a schedule, to differences on your own model.

    make() -> (optimizer, train_loss, outer_loss): everything anew and the same each time (seed it), in
        float64, which is torch's default type meanwhile. train_loss(t) is the loss of step t, a function of t
        and the weights; outer_loss() that on data which are not trained on. Dropout is allowed: random
        numbers are the same in each evaluation of a step.
    steps: T, of which each number takes two trainings or more; some 20 trainings where all is right.
    mu: of MARTHE. rtol: the largest relative error. clip_grad_value, clip_grad_norm: as for the tuners.
    raise_exception: False returns what was found, right or wrong.

    E is the outer loss as the tuners take it, under BatchNorm's batch statistics; where the closure's own
    modes give another value, `note` says by how much. A schedule is held for one parameter group without
    clipping.

    Raises HypergradcheckError where a number is wrong, ValueError for a `make` that is no such function,
    differs when it is called twice or is not in float64, and whatever the tuners raise, by name, for what
    they refuse. The caller's random state stays as it is.
    """
    whole("steps", steps, 1)
    for name, value, top in (("mu", mu, 1.0), ("rtol", rtol, math.inf)):
        if not (is_number(value) and 0 <= value <= top):
            raise ValueError(f"{name} must be a number from 0 to {top:g}, not {shown(value)}")
    truth("raise_exception", raise_exception)
    clipping(clip_grad_value, clip_grad_norm)
    function("make", make, wanted="a function that returns (optimizer, train_loss, outer_loss)")
    trainings = _Trainings(make, steps, clip_grad_value, clip_grad_norm)
    before = torch.get_default_dtype()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.set_default_dtype(torch.float64)
        try:
            found = _check(trainings, mu, rtol)
        finally:
            torch.set_default_dtype(before)
    if raise_exception and not found.ok:
        raise HypergradcheckError(str(found))
    return found


def _check(trainings: _Trainings, mu: float, rtol: float) -> Hypergradcheck:
    trainings.check_same()
    steps, fault = trainings.steps, ""
    numbers: list[Number] = []
    for name, decay in (("RTHO", 1.0), (f"MARTHE with mu = {mu:g}", mu)):
        shape = [decay ** (steps - 1 - t) for t in range(steps)]
        for k, given in trainings.deltas(decay).items():
            where = f", group {k}" if len(trainings.rates) > 1 else ""
            numbers.append(trainings.compared(f"Delta of {name}{where}", given, k, shape, rtol))
    try:
        entries = trainings.schedule()
    except LossError as error:
        if "evaluated again" not in str(error):
            raise
        entries, fault = [], f"state: {error}"
    for t, given in enumerate(entries):
        shape = [float(s == t) for s in range(steps)]
        numbers.append(trainings.compared(f"entry {t} of a schedule", given, 0, shape, rtol))
    if fault or any(x.error > rtol for x in numbers):
        fault = wrong_part(trainings.new(), steps) or fault or MEMORY
    return Hypergradcheck(tuple(numbers), rtol, fault, trainings.note)


@dataclass
class _Trainings:
    """Trainings of `steps` steps from `make`, each from its start."""

    make: Make
    steps: int
    clip_grad_value: float | None
    clip_grad_norm: float | None
    rates: list[float] = field(default_factory=list)
    """Of the optimizer's groups."""
    value: float = math.nan
    """E of the plain training."""
    note: str = ""
    """By how much E is another in the modes of the closure."""

    def new(self) -> UserTraining:
        return UserTraining(self.make())

    def check_same(self) -> None:
        """Raises ValueError unless two trainings are equal."""
        first, second = self.new(), self.new()
        self.rates = [float(group["lr"]) for group in first.optimizer.param_groups]
        weights = [[w.detach().clone() for w in made.weights] for made in (first, second)]
        shapes = [[w.shape for w in each] for each in weights]
        if shapes[0] != shapes[1] or not all(map(torch.equal, *weights)):
            raise ValueError(
                "make gives other weights when it is called again: write torch.manual_seed(0) as its first "
                "line, and make the model in it"
            )
        losses = [self.plain([0.0] * self.steps, 0, made) for made in (first, second)]
        for t, (a, b) in enumerate(zip(*losses, strict=True)):
            name = "outer_loss" if t == self.steps else f"train_loss({t})"
            if not math.isfinite(a):
                raise ValueError(
                    f"{name} is {a}: differences need a training that is finite, at a lower rate say"
                )
            if not math.isclose(a, b, rel_tol=1e-9):
                raise ValueError(
                    f"{name} is {a:.9g} and, where make is called again, {b:.9g}: make everything anew in "
                    "it, and let the batch of a step be a function of t"
                )
        self.value, own = losses[0][-1], first.outer_value(None)
        if not math.isclose(own, self.value, rel_tol=1e-9):
            self.note = (
                f"note: E is {self.value:.6g} as the tuners take it, with BatchNorm's batch statistics, and "
                f"{own:.6g} in the modes that outer_loss sets itself: {own - self.value:+.3g}"
            )

    def plain(self, shifts: Sequence[float], group: int, made: UserTraining | None = None) -> list[float]:
        """Training losses, then E, of a plain training of torch with the rates of a group shifted."""
        made = made or self.new()
        losses = []
        for t, shift in enumerate(shifts):
            made.optimizer.zero_grad()
            for k, rate in enumerate(self.rates):
                made.optimizer.param_groups[k]["lr"] = rate + shift * (k == group)
            loss = made.train(t)
            loss.backward()
            if self.clip_grad_value is not None:
                torch.nn.utils.clip_grad_value_(made.weights, self.clip_grad_value)
            if self.clip_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(made.weights, self.clip_grad_norm)
            made.optimizer.step()
            losses.append(float(loss.detach()))
        return [*losses, made.outer_value("batch")]

    def deltas(self, mu: float) -> dict[int, float]:
        """Delta by group, as a tuner gives it after the last step."""
        made = self.new()
        tuner = MARTHE(
            made.optimizer,
            mu,
            0.0,
            clip_grad_value=self.clip_grad_value,
            clip_grad_norm=self.clip_grad_norm,
        )
        for t in range(self.steps):
            tuner.step(partial(made.train, t), made.outer)
        return {k: value for (k, _), value in tuner.hypergradients.items()}

    def schedule(self) -> list[float]:
        """dE by each rate, as `schedule_hypergradient` gives it; nothing where that has no form."""
        if len(self.rates) > 1 or self.clip_grad_value is not None or self.clip_grad_norm is not None:
            return []
        made = self.new()
        with BufferGuard("batch"):
            problem = _Live(made.weights, lambda _, t: made.train(t), lambda _: made.outer())
            slope = schedule_hypergradient(problem, self.rates * self.steps, made.optimizer)[1]
        return [float(x) for x in slope]

    def compared(self, name: str, given: float, group: int, shape: Sequence[float], rtol: float) -> Number:
        """The given number beside the quotient that is nearest to it."""
        unit = self.rates[group] or 1e-3

        def quotient(h: float) -> float:
            above, below = (self.plain([s * h * x for x in shape], group)[-1] for s in (unit, -unit))
            return (above - below) / (2 * h * unit)

        return Number(name, given, *nearest(given, quotient, rtol, rounding(self.value, unit)))


@dataclass(frozen=True)
class _Live(Problem):
    """A training whose losses read the weights where they are: its leaves are these themselves."""

    @torch.no_grad()
    def leaves(self, values: Sequence[Tensor]) -> Tensors:
        weights: Any = self.weights
        for w, x in zip(weights, values, strict=True):
            w.copy_(x)
        return list(weights)
