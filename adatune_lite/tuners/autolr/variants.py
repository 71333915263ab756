"""AutoLR with one of the decisions that its paper leaves open taken the other way; for comparison only.

What the paper leaves open, `AutoLR` decides one way (the table in book/methods.md). Each class here decides
one thing otherwise and is AutoLR in all else, so that the difference between the two is that decision's
effect. Runs name them by their setting `otherwise`, as experiment 06 does; nothing else uses this module.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from adatune_lite.engine.closures import Closure
from adatune_lite.tuners import AutoLR
from adatune_lite.tuners.autolr.log import Decision
from adatune_lite.tuners.products import Gradients
from adatune_lite.tuners.snapshot import Snapshot

Tensors = list[Tensor]

FRESH = 1_000_000
"""First index of the superbatches of `FreshSuperbatch`, far from those of the fits."""


class NextStep(AutoLR):
    """The new rate begins with the next step; the one that was measured stays as it was taken.

    So `new_lr` of a decision is the rate of the step after it.
    """

    def step(self, train_loss: Closure | list[Closure], outer_loss: Any = None) -> Tensor:
        lr, done = self._lr, self._steps
        loss = super().step(train_loss, outer_loss)
        decided = bool(self.log) and self.log[-1].step == self._steps > done
        if decided and self.log[-1].decision in ("raise", "lower"):
            self._used_lr = lr
        return loss

    def _take_anew(self, weights: Tensors, grads: Gradients, start: Snapshot, found: Decision) -> None:
        """The step at the old rate has been taken; the held loss is the one measured after it."""
        self._held_loss = found.losses[len(found.losses) // 2]


class FreshSuperbatch(AutoLR):
    """In exploit each window ends on a superbatch of its own: a drop is the difference of two of them."""

    def _look(self, outer_loss: Any, weights: Tensors, start: Snapshot) -> Decision:
        if self._steps >= self.explore_steps:
            self._held = FRESH + len(self.log)
        return super()._look(outer_loss, weights, start)


class CountBeginsAnew(AutoLR):
    """Each change of the rate begins the relative threshold anew, raises in explore included.

    The absolute threshold stays once it is fixed: from then on this is AutoLR as it is.
    """

    def _take_anew(self, weights: Tensors, grads: Gradients, start: Snapshot, found: Decision) -> None:
        super()._take_anew(weights, grads, start, found)
        self._first = math.nan


class RiseIsACrossing(AutoLR):
    """A window whose loss rose is a crossing too and fixes the absolute threshold, at 0."""

    def _saturated(self, drop_rate: float, threshold: float) -> bool:
        if math.isnan(self._absolute) and drop_rate <= 0:
            self._absolute = 0.0
        return super()._saturated(drop_rate, threshold)


class EvaluationMode(AutoLR):
    """Superbatch losses in evaluation mode: BatchNorm's running statistics, no dropout."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._net = options["model"]

    def step(self, train_loss: Closure | list[Closure], outer_loss: Any = None) -> Tensor:
        def looked(k: int) -> Tensor:
            self._net.eval()  # AutoLR puts the modes back
            found: Tensor = outer_loss(k)
            return found

        return super().step(train_loss, None if outer_loss is None else looked)


OTHERWISE: dict[str, type[AutoLR]] = {
    "next step": NextStep,
    "fresh superbatch": FreshSuperbatch,
    "count begins anew": CountBeginsAnew,
    "rise is a crossing": RiseIsACrossing,
    "evaluation mode": EvaluationMode,
}
"""By the name that the setting `otherwise` of a run gives."""
