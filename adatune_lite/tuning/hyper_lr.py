"""A hyper_lr for a training at hand, by short trials.

hyper_lr (beta) has a unit, value squared per loss, and so no default that is good for all: it is tried out.
A trial trains for S steps from the present state on the same batches and random numbers as all others and is
judged by E, the loss on a held batch at its end.

Scale. The first trial keeps the value eta fixed (beta = 0). Its hypergradients say how far a small beta would
move the value, beta sum_t |Delta_t|, so that

    beta_0 = eta / sum_t |Delta_t|

moves it by about its own size in the course of a trial. (One step's Delta, as in beta = eta / |Delta_0|,
would do for HD; MARTHE's and RTHO's grow as their memory fills.)

Search. beta_0 10^k for k = -1, 0, 1, 2, 3: a start that is far too low is the usual reason to search, and a
rate that has to grow tenfold needs more than beta_0. Then, as long as trials are left, a decade beyond the
best where it is the largest or smallest one tried, else half-way (in k) to the farther of its neighbours.

Rejected are trials that diverge, and those in which the value runs into one of its bounds.

Length. The best beta of a trial brings the value in S steps to where it helps; in a training of T steps it
would go on, T / S times as far. So what comes out is beta S / T. On the book's MNIST problem (T = 512) RTHO
with the best beta of trials of S = 50 itself diverges.

The trial's end judges, not the training's: on a short trial the rate that is best soon wins, which may be
lower than the one that is best late (arXiv 1803.02021). AdaTune announced a `find_hyper_lr` and has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from adatune_lite.checks import function, is_number, shown, whole
from adatune_lite.engine.closures import evaluate
from adatune_lite.tuners import HD, MARTHE, Diverged, Tuner
from adatune_lite.tuners.tuned import Tuned
from adatune_lite.tuning.rewind import rewinding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECADES = (-1.0, 0.0, 1.0, 2.0, 3.0)
"""k of the first trials."""


@dataclass(frozen=True)
class Trial:
    """One short training."""

    hyper_lr: float
    loss: float
    """The held loss at its end; NaN where it was rejected."""
    path: tuple[float, ...]
    """The value after each step, of the first parameter group."""
    status: str
    """finished, diverged at step t, or ran into a bound at step t."""

    @property
    def rank(self) -> tuple[float, float]:
        """Lower is better; all that are rejected are equal, and then the smaller hyper_lr is."""
        return (self.loss if self.status == "finished" else math.inf, self.hyper_lr)


@dataclass(frozen=True)
class HyperLR:
    """What was tried, and what was best."""

    name: str
    """What hyper_lr moves, lr as a rule."""
    constant: Trial
    """The trial with hyper_lr 0."""
    tried: tuple[Trial, ...]
    """The others, in their order."""
    share: float
    """Steps of a trial over steps of the training."""
    cost: float
    """In plain training steps (forward, backward, update), for outer batches as large as the training's."""

    @property
    def best(self) -> Trial:
        """The trial with the lowest held loss, without the constant."""
        return min(self.tried, key=lambda trial: trial.rank)

    @property
    def value(self) -> float:
        """The hyper_lr for the training: the best trial's times `share`."""
        return self.best.hyper_lr * self.share

    @property
    def at_edge(self) -> str | None:
        """On which edge of what was tried the best lies, "low" or "high": there may be better beyond."""
        found, best = [trial.hyper_lr for trial in self.tried], self.best.hyper_lr
        return "low" if best == min(found) else "high" if best == max(found) else None

    @property
    def beats_constant(self) -> bool:
        """Whether the best is better than hyper_lr 0; if not, the start is good or the trials too short."""
        return self.best.loss < self.constant.loss

    def plot(self) -> Figure:
        """The held loss against hyper_lr, and the paths of the value; needs matplotlib and seaborn."""
        from adatune_lite.plotting import BLUE, GREY, LIGHT, ORANGE, panels

        figure, (left, right) = panels(2, width=9.6)
        good = sorted((t for t in self.tried if t.status == "finished"), key=lambda trial: trial.hyper_lr)
        bad = [trial.hyper_lr for trial in self.tried if trial.status != "finished"]
        left.plot([t.hyper_lr for t in good], [t.loss for t in good], "o-", color=BLUE)
        left.axhline(self.constant.loss, color=GREY, ls="--", label="hyper_lr = 0")
        edge = f", on the {self.at_edge} edge" if self.at_edge else ""
        best = self.best.hyper_lr
        left.plot(best, self.best.loss, "*", ms=15, color=ORANGE, label=f"best trial: {best:.3g}{edge}")
        left.axvline(self.value, color=ORANGE, label=f"for the training: {self.value:.3g}")
        if bad:
            top = left.get_xaxis_transform()
            left.plot(bad, [0.97] * len(bad), "x", color=GREY, transform=top, label="rejected")
        left.set(
            xscale="log", xlabel=f"hyper_lr of {self.name} (its unit squared per loss)", ylabel="held loss"
        )
        left.legend()
        for trial in self.tried:
            line = "-" if trial.status == "finished" else ":"
            right.plot(trial.path, color=LIGHT, lw=1, ls=line)
        right.plot(self.best.path, color=ORANGE, lw=2)
        right.axhline(self.constant.path[0], color=GREY, ls="--")
        kept = [x for trial in (self.constant, *good) for x in trial.path if x > 0]
        right.set(ylim=(min(kept) / 2, max(kept) * 2))  # those that diverge leave the picture
        right.set(xlabel="step of the trial", ylabel=self.name, yscale="log")
        right.set_title("best in colour, rejected dotted")
        return figure


def find_hyper_lr(
    tuner: Tuner,
    train_loss: Callable[[int], Tensor],
    outer_loss: Callable[[int], Tensor] | None,
    held_loss: Callable[[], Tensor],
    *,
    total_steps: int,
    name: str = "lr",
    steps: int = 50,
    trials: int = 9,
    around: float | None = None,
) -> HyperLR:
    """Try several hyper_lr from the tuner's present state, then put everything back as it was (`rewinding`).

    tuner: an HD, RTHO or MARTHE whose hyper_lr is fixed; what it is does not matter, and it is not changed.
    train_loss(t), outer_loss(t): the losses of step t = 0, 1, ... of a trial; the same t, the same data.
        outer_loss None is for HD as published.
    held_loss: a loss on data that neither of them uses; BatchNorm is treated as in the tuner's outer loss.
    total_steps: T, the length of the training that the value is for.
    name: what the hyper_lr moves, in all parameter groups alike; others that are tuned keep theirs.
    steps: S, of a trial. trials: at most so many, that with hyper_lr 0 among them.
    around: beta_0 of the module's docstring, where it is known; by default it is measured.

    Costs at most trials (steps (1 + 2 products + outer) + 1/3) plain steps: a product for each tuned value
    unless mu = 0, an outer gradient at every `every`-th step, and a forward pass at the end.

    Raises ValueError for another kind of tuner, for arguments out of range, where even the constant value
    diverges, where there is no scale (all Delta or the value are 0), and where every trial is rejected;
    LossError for a broken closure.
    """
    searched = _check(tuner, name, steps, total_steps, trials, around)
    assert isinstance(tuner, MARTHE)
    for what, closure in (("train_loss", train_loss), ("outer_loss", outer_loss)):
        if (what, closure) != ("outer_loss", None):
            function(what, closure, 0, wanted="a function of the step t that returns the loss")
    function("held_loss", held_loss, wanted="a function without arguments that returns the loss")
    before, products = [x.hyper_lr for x in searched], tuner.products
    price = 1 + (outer_loss is not None) / tuner.every
    cost = 0.0
    tried: dict[float, Trial] = {}
    try:
        with rewinding(tuner.optimizer, tuner) as back:

            def run(hyper_lr: float) -> tuple[Trial, list[float]]:
                nonlocal cost
                back()
                for x in searched:
                    x.hyper_lr = hyper_lr
                trial, moves = _run(tuner, searched, train_loss, outer_loss, held_loss, steps)
                cost += price * len(trial.path) + 2 * (tuner.products - products) + 1 / 3
                return trial, moves

            constant, moves = run(0.0)
            if constant.status != "finished":
                raise ValueError(
                    f"training {constant.status} of {steps} with hyper_lr 0: start with a lower lr"
                )
            scale = _scale(searched, moves) if around is None else around
            while len(tried) + 1 < trials:
                k = DECADES[len(tried)] if len(tried) < len(DECADES) else _next(tried)
                tried[k], _ = run(scale * 10**k)
    finally:
        for x, hyper_lr in zip(searched, before, strict=True):
            x.hyper_lr = hyper_lr
    found = HyperLR(name, constant, tuple(tried.values()), steps / total_steps, cost)
    if found.best.status != "finished":
        low, high = min(t.hyper_lr for t in found.tried), max(t.hyper_lr for t in found.tried)
        raise ValueError(
            f"no hyper_lr from {low:.3g} to {high:.3g} gave a trial that stayed finite and off the bounds: "
            "widen the bounds, start from a lower lr, or take fewer steps"
        )
    return found


def _check(
    tuner: object, name: str, steps: int, total_steps: int, trials: int, around: float | None
) -> list[Tuned]:
    """What is searched: the entries of `name`."""
    if not isinstance(tuner, MARTHE):
        raise ValueError(
            f"find_hyper_lr is for HD, RTHO and MARTHE; a {type(tuner).__name__} has no hyper_lr"
        )
    if tuner._adaptive and tuner._adaptive.alpha is not None:
        raise ValueError('the hyper_lr of this tuner adapts: give it a number instead of "adaptive"')
    if tuner._device:
        raise ValueError(
            "trials must notice what is not finite: give find_hyper_lr a tuner without capturable"
        )
    for what, number, least in (
        ("steps", steps, tuner.every + 1),
        ("total_steps", total_steps, steps),
        ("trials", trials, len(DECADES) + 1),
    ):
        whole(what, number, least)
    if around is not None and not (is_number(around) and 0 < around < math.inf):
        raise ValueError(f"around must be finite and above 0 (or None), not {shown(around)}")
    found = [x for x in tuner._tuned if x.name == name]
    if not found:
        names = ", ".join(sorted({x.name for x in tuner._tuned}))
        raise ValueError(f"this tuner does not tune {shown(name)}: choose among {names}")
    return found


def _run(
    tuner: MARTHE,
    searched: Sequence[Tuned],
    train_loss: Callable[[int], Tensor],
    outer_loss: Callable[[int], Tensor] | None,
    held_loss: Callable[[], Tensor],
    steps: int,
) -> tuple[Trial, list[float]]:
    """A trial, and what hyper_lr multiplied in it, summed without sign, for each value that is searched."""
    starts = [x.value for x in searched]
    moves = [0.0] * len(searched)
    path: list[float] = []
    status, loss = "finished", math.nan
    for t in range(steps):
        try:
            tuner.step(partial(train_loss, t), partial(outer_loss, t) if outer_loss else None)
        except Diverged:
            status = f"diverged at step {t}"
        path.append(searched[0].value)
        if any(
            x.value != start and x.value in (x.low, x.high) for x, start in zip(searched, starts, strict=True)
        ):
            status = f"ran into a bound at step {t}"
        if status != "finished":
            break
        moves = [total + _move(tuner, x) for x, total in zip(searched, moves, strict=True)]
    else:
        loss = _held(tuner, held_loss)
        if not math.isfinite(loss):
            status = f"diverged at step {steps}"
    return Trial(searched[0].hyper_lr, loss, tuple(path), status), moves


def _move(tuner: MARTHE, x: Tuned) -> float:
    """|d value / d hyper_lr| of the last step, which `every` makes at some steps alone."""
    if isinstance(tuner, HD) and tuner.multiplicative:
        return abs(x.value) / tuner.every  # at most, with a cosine of 1
    size = min(abs(x.hypergradient), tuner.clip_hypergradient)
    return size / tuner.every if math.isfinite(size) else 0.0


def _held(tuner: MARTHE, held_loss: Callable[[], Tensor]) -> float:
    with tuner._guard(tuner.outer_batchnorm) as guard:
        loss = float(evaluate(held_loss, "held_loss", tuner._weights(), first=True).detach())
    guard.restore()
    return loss


def _scale(searched: Sequence[Tuned], moves: Sequence[float]) -> float:
    """beta_0, the smallest over the groups."""
    found = [abs(x.value) / total for x, total in zip(searched, moves, strict=True) if total and x.value]
    if not found:
        raise ValueError(
            f"the hyper_lr of {searched[0].name} has no scale, since its value or hypergradients are 0: "
            "give around"
        )
    return min(found)


def _next(tried: dict[float, Trial]) -> float:
    """A decade beyond the best where it is on the edge, else half-way to the farther of its neighbours."""
    ordered = sorted(tried)
    place = min(range(len(ordered)), key=lambda i: tried[ordered[i]].rank)
    k = ordered[place]
    if place == 0:
        return k - 1
    if place == len(ordered) - 1:
        return k + 1
    below, above = ordered[place - 1], ordered[place + 1]
    return (k + above) / 2 if above - k >= k - below else (k + below) / 2
