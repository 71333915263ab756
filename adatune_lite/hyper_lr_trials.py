"""What `find_hyper_lr` tried and found, and its picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        from adatune_lite.figures import COLOURS, panels

        figure, (left, right) = panels(2, width=9.6)
        good = sorted((t for t in self.tried if t.status == "finished"), key=lambda trial: trial.hyper_lr)
        bad = [trial.hyper_lr for trial in self.tried if trial.status != "finished"]
        grey, colour = COLOURS["constant"], COLOURS["marthe"]
        left.plot([t.hyper_lr for t in good], [t.loss for t in good], "o-", color=COLOURS["rtho"])
        left.axhline(self.constant.loss, color=grey, ls="--", label="hyper_lr = 0")
        edge = f", on the {self.at_edge} edge" if self.at_edge else ""
        best = self.best.hyper_lr
        left.plot(best, self.best.loss, "*", ms=15, color=colour, label=f"best trial: {best:.3g}{edge}")
        left.axvline(self.value, color=colour, label=f"for the training: {self.value:.3g}")
        if bad:
            top = left.get_xaxis_transform()
            left.plot(bad, [0.97] * len(bad), "x", color=grey, transform=top, label="rejected")
        left.set(
            xscale="log", xlabel=f"hyper_lr of {self.name} (its unit squared per loss)", ylabel="held loss"
        )
        left.legend()
        for trial in self.tried:
            line = "-" if trial.status == "finished" else ":"
            right.plot(trial.path, color=COLOURS["start"], lw=1, ls=line)
        right.plot(self.best.path, color=colour, lw=2)
        right.axhline(self.constant.path[0], color=grey, ls="--")
        kept = [x for trial in (self.constant, *good) for x in trial.path if x > 0]
        right.set(ylim=(min(kept) / 2, max(kept) * 2))  # those that diverge leave the picture
        right.set(xlabel="step of the trial", ylabel=self.name, yscale="log")
        right.set_title("best in colour, rejected dotted")
        return figure
