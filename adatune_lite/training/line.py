"""The loss along an optimizer's own step: what AutoLR's parabola is a model of.

With lr d the step that the optimizer takes from w, and u = eps / lr a change of its rate in units of that,

    L(u) = L(w - lr (1 + u) d),

so that u = -1 is where the step begins, u = 0 where it ends, u = 1 the step at twice the rate
(AutoLR, ICLR 2020 submission, equation 1 and Figure 5).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adatune_lite.engine.closures import Closure
from adatune_lite.tuners.autolr.checks import superbatch_loss
from adatune_lite.tuners.base import FixedSchedule


class Line:
    """L(u) on superbatches, without gradient; each under its own random seed, buffers left alone."""

    def __init__(
        self, weights: Sequence[Tensor], start: Sequence[Tensor], lr: float, outer_loss: Any
    ) -> None:
        """weights: the live ones, where the step ends. start: where it began. outer_loss: of AutoLR."""
        self._weights, self._start, self._outer = weights, start, outer_loss
        self._end = [w.detach().clone() for w in weights]
        self.lr = lr
        """Rate of the step."""
        self.looks = 0
        """Losses evaluated so far."""

    def losses(self, u: float, superbatches: Sequence[int]) -> list[float]:
        """L(u) on each of the superbatches; the weights end where they were."""
        try:
            self._put([torch.lerp(a, b, 1 + u) for a, b in zip(self._start, self._end, strict=True)])
            self.looks += len(superbatches)
            return [superbatch_loss(self._outer, k, self._weights) for k in superbatches]
        finally:
            self._put(self._end)

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for w, value in zip(self._weights, values, strict=True):
            w.copy_(value)


Measure = Callable[[int, Line], Mapping[str, Sequence[float]]]
"""(step, its line) -> what was measured."""


class LineProbe(FixedSchedule):
    """A training along a schedule that measures the line of some of its steps and goes on untouched.

    at: the steps, by the steps done at their end. measure: what to measure there. `found` holds what was
    measured, by step. `step` takes AutoLR's outer_loss(k).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedule: Tensor | Sequence[float],
        at: Collection[int],
        measure: Measure,
    ) -> None:
        super().__init__(optimizer, schedule)
        self.at, self.measure = frozenset(at), measure
        self.found: dict[int, dict[str, list[float]]] = {}

    def step(self, train_loss: Closure | list[Closure], outer_loss: Any = None) -> Tensor:
        weights, done = self._weights(), self._steps
        start = [w.detach().clone() for w in weights] if done + 1 in self.at else []
        loss = super().step(train_loss)
        if start and self._steps > done:
            line = Line(weights, start, self.used_lr, outer_loss)
            found = self.measure(self._steps, line)
            self.found[self._steps] = {name: [float(v) for v in values] for name, values in found.items()}
            self.looks += line.looks
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "found": self.found}

    def _take_state(self, state: dict[str, Any]) -> None:
        super()._take_state(state)
        self.found = state["found"]
