"""The learning-rate range test: train while the rate grows, and see where the loss turns.

Smith, arXiv 1506.01186 and 1803.09820; AutoLR (ICLR 2020 submission), appendix E and Figure 8. Rates grow
geometrically from lr_min to lr_max; the loss of each mini-batch is smoothed,

    m_t = beta m_{t-1} + (1 - beta) l_t,    s_t = m_t / (1 - beta^(t+1)).

Two readings of the largest rate for a one-cycle schedule: the rate at the lowest s ("minimum"; a good choice
is a bit below it), and a tenth of that, which libraries use by default and AutoLR found too low.

torch-lr-finder 0.2.2 does the same for a DataLoader and a criterion, and its `reset` brings the model and the
optimizer back; here a training is a closure, its random state comes back as well, and only `plot` needs
matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adatune_lite.checks import function, is_number, shown, whole
from adatune_lite.engine.closures import evaluate
from adatune_lite.engine.curvature import gradient
from adatune_lite.tuners.base import check_optimizer
from adatune_lite.tuning.rewind import rewinding

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LRRange:
    """Rates, and the smoothed loss before the step at each."""

    lr: tuple[float, ...]
    loss: tuple[float, ...]
    exploded: bool
    """Whether the loss exploded before the last rate; the rates then end before it."""

    @property
    def minimum(self) -> float:
        """The rate at the lowest loss."""
        return self.lr[self.loss.index(min(self.loss))]

    @property
    def tenth(self) -> float:
        """A tenth of `minimum`."""
        return self.minimum / 10

    @property
    def at_edge(self) -> bool:
        """Whether the loss never turned: `minimum` then says nothing, and the test needs larger rates."""
        return not self.exploded and self.minimum == self.lr[-1]

    def plot(self) -> Figure:
        """The smoothed loss against the rate, with both readings; needs matplotlib and seaborn."""
        from adatune_lite.plotting import BLACK, BLUE, ORANGE, panels

        figure, (axes,) = panels()
        axes.plot(self.lr, self.loss, color=BLACK)
        turned = "the largest rate: no minimum yet" if self.at_edge else "lowest loss"
        for rate, colour, line, words in (
            (self.minimum, ORANGE, "-", turned),
            (self.tenth, BLUE, "--", "a tenth of it"),
        ):
            axes.axvline(rate, color=colour, ls=line, label=f"{words}: {rate:.3g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss, smoothed")
        axes.legend()
        return figure


def lr_range_test(
    optimizer: torch.optim.Optimizer,
    train_loss: Callable[[int], Tensor],
    *,
    lr_min: float = 1e-6,
    lr_max: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    stop: float = 4.0,
) -> LRRange:
    """Train for `steps` steps with growing rates, then put everything back as it was.

    train_loss(t): the loss on the t-th mini-batch at the present weights.
    smoothing: beta. stop: the test ends where the smoothed loss exceeds its lowest value `stop` times, or is
    not finite; once that value is 0 or less, where the loss has risen from it by `stop` - 1 times what it had
    fallen before.

    Raises ValueError for arguments out of range, UnsupportedOptimizer for an optimizer that takes the loss
    itself (LBFGS), LossError for a broken closure.
    """
    check_optimizer(optimizer, "lr_range_test")
    function("train_loss", train_loss, 0, wanted="a function of the step t that returns the loss")
    if not (is_number(lr_min) and is_number(lr_max) and 0 < lr_min < lr_max < math.inf):
        raise ValueError(f"rates must obey 0 < lr_min < lr_max, not {shown(lr_min)} and {shown(lr_max)}")
    whole("steps", steps, 2)
    if not (is_number(smoothing) and 0 <= smoothing < 1):
        raise ValueError(f"smoothing must be at least 0 and below 1, not {shown(smoothing)}")
    if not (is_number(stop) and stop > 1):
        raise ValueError(f"stop must be above 1, not {shown(stop)}")
    weights = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    found: list[tuple[float, float]] = []
    mean = 0.0
    with rewinding(optimizer):
        for t in range(steps):
            lr = lr_min * (lr_max / lr_min) ** (t / (steps - 1))
            loss = evaluate(lambda t=t: train_loss(t), "train_loss", weights, first=t == 0)
            mean = smoothing * mean + (1 - smoothing) * float(loss.detach())
            smoothed = mean / (1 - smoothing ** (t + 1))
            if not math.isfinite(smoothed) or _exploded(smoothed, [s for _, s in found], stop):
                break
            found.append((lr, smoothed))
            for p, g in zip(weights, gradient(loss, weights, what="train_loss"), strict=True):
                p.grad = g
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
    if not found:
        raise ValueError("the loss is not finite at the start, before any step")
    lrs, losses = zip(*found, strict=True)
    return LRRange(lrs, losses, exploded=len(found) < steps)


def _exploded(loss: float, before: list[float], stop: float) -> bool:
    """Whether a smoothed loss has risen too far above the lowest of those before it."""
    if not before:
        return False
    lowest = min(before)
    if lowest > 0:
        return loss > stop * lowest
    fall = max(before[: before.index(lowest) + 1]) - lowest
    return fall > 0 and loss - lowest > (stop - 1) * fall
